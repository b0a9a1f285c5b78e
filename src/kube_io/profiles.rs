//! AccessProfiles of the operator's own namespace.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::api::PostParams;

use super::{ApiError, Expected, KubeIo, only};
use crate::api::{AccessProfile, AccessProfileSpec, FIELD_MANAGER};
use crate::index::{ObjectKey, Raw};

impl KubeIo {
    /// Reads a profile, if there is one.
    ///
    /// # Errors
    /// When the API server does not answer as it should.
    pub async fn profile(&self, key: &ObjectKey) -> Result<Option<Raw<AccessProfile>>, ApiError> {
        let api = self.namespaced::<Raw<AccessProfile>>(key);
        self.send("AccessProfile", "get", api.get_opt(&key.name)).await
    }

    /// Creates a profile. Returns its metadata.
    ///
    /// # Errors
    /// [`ApiError::AlreadyExists`] when there is one.
    pub async fn create_profile(
        &self,
        key: &ObjectKey,
        spec: AccessProfileSpec,
    ) -> Result<ObjectMeta, ApiError> {
        let profile = AccessProfile::new(&key.name, spec);
        let api = self.namespaced::<AccessProfile>(key);
        let params = written_by();
        let created = api.create(&params, &profile);
        self.send("AccessProfile", "create", created).await.map(|profile| profile.metadata)
    }

    /// Replaces the profile of a UID and resourceVersion. Returns its metadata.
    ///
    /// # Errors
    /// [`ApiError::Conflict`] when the profile is not the one that was read.
    pub async fn replace_profile(
        &self,
        key: &ObjectKey,
        expected: &Expected,
        spec: AccessProfileSpec,
    ) -> Result<ObjectMeta, ApiError> {
        let mut profile = AccessProfile::new(&key.name, spec);
        profile.metadata.uid = Some(expected.uid.clone());
        profile.metadata.resource_version = Some(expected.resource_version.clone());
        let api = self.namespaced::<AccessProfile>(key);
        let params = written_by();
        let replaced = api.replace(&key.name, &params, &profile);
        self.send("AccessProfile", "update", replaced).await.map(|profile| profile.metadata)
    }

    /// Deletes the profile of a UID and resourceVersion.
    ///
    /// # Errors
    /// [`ApiError::Conflict`] when the profile is not the one that was read.
    pub async fn delete_profile(
        &self,
        key: &ObjectKey,
        expected: &Expected,
    ) -> Result<(), ApiError> {
        let params = only(expected);
        let api = self.namespaced::<AccessProfile>(key);
        self.send("AccessProfile", "delete", api.delete(&key.name, &params)).await.map(|_| ())
    }
}

fn written_by() -> PostParams {
    PostParams { field_manager: Some(FIELD_MANAGER.to_owned()), ..PostParams::default() }
}
