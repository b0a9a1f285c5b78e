//! Admission policies, as far as the operator rests on them.

use k8s_openapi::api::admissionregistration::v1::{
    ValidatingAdmissionPolicy, ValidatingAdmissionPolicyBinding,
};
use kube::Api;

use super::{ApiError, KubeIo};

impl KubeIo {
    /// Whether there is a policy of a name, and a binding of the same one by which it denies.
    ///
    /// # Errors
    /// When the API server does not answer as it should.
    pub async fn denies_by_policy(&self, name: &str) -> Result<bool, ApiError> {
        let policies: Api<ValidatingAdmissionPolicy> = Api::all(self.client.clone());
        let bindings: Api<ValidatingAdmissionPolicyBinding> = Api::all(self.client.clone());
        let kind = "ValidatingAdmissionPolicy";
        let policy = self.send(kind, "get", policies.get_opt(name)).await?;
        let binding = self.send(kind, "get", bindings.get_opt(name)).await?;
        let fails_closed = policy
            .and_then(|p| p.spec)
            .is_some_and(|spec| spec.failure_policy.as_deref().unwrap_or("Fail") == "Fail");
        let denies = binding.and_then(|b| b.spec).is_some_and(|spec| {
            spec.policy_name.as_deref() == Some(name)
                && spec.match_resources.is_none()
                && spec.validation_actions.is_some_and(|a| a.iter().any(|action| action == "Deny"))
        });
        Ok(fails_closed && denies)
    }
}
