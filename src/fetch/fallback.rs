//! What stands in for values that 1Password cannot be asked for, where there is no Secret yet: the request's
//! fallback Secret, then variables of the operator's environment. Both serve only what was granted.

use std::collections::{BTreeMap, BTreeSet};

use k8s_openapi::api::core::v1::Secret;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use zeroize::Zeroize as _;

use super::{Fallback, Fetcher, Order, Substitute, Values};
use crate::api::{ALLOW_REQUEST_ANNOTATION, ConnectServerSpec, Source};
use crate::index::ObjectKey;
use crate::policy::{ItemIdentity, ResolvedReference};
use crate::reference::{Reference, Wanted, fold, is_id};

/// Why a fallback Secret did not serve.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FallbackError {
    /// There is none, or it cannot be read.
    #[error("the fallback Secret {0} is not there, or cannot be read")]
    NotFound(ObjectKey),
    /// Its owner did not allow it.
    #[error(
        "the fallback Secret {secret} does not allow this request; its owner allows it by: kubectl --namespace {ns} \
         annotate --overwrite secret {name} {ALLOW_REQUEST_ANNOTATION}={request}", ns = .secret.namespace, name = .secret.name
    )]
    NotAllowed {
        /// The Secret.
        secret: ObjectKey,
        /// The request.
        request: String,
    },
    /// It is of a type that is for something else.
    #[error("the fallback Secret {0} is not of type Opaque")]
    OtherType(ObjectKey),
    /// It does not hold all keys.
    #[error("the fallback Secret {secret} has no key {key}")]
    KeyMissing {
        /// The Secret.
        secret: ObjectKey,
        /// The first key that it lacks.
        key: String,
    },
}

impl Fetcher {
    /// Puts into `values` what stands in for the items that are missing.
    pub(super) async fn stand_in<'g>(
        &self,
        order: &Order<'g>,
        missing: BTreeSet<&'g ItemIdentity>,
        cause: String,
        values: &mut Values<'g>,
    ) -> Result<(), Option<FallbackError>> {
        let Fallback::Secretless { secret } = order.fallback else { return Err(None) };
        let references = &order.grant.facts().references;
        let wanted: Vec<&'g ResolvedReference> =
            references.iter().filter(|r| missing.contains(&r.item)).collect();
        let mut note = None;
        if let Some(secret) = secret {
            match self.fallback_secret(order, secret, &wanted).await {
                Ok(found) => {
                    values.substitute(found, Source::FallbackSecret, cause);
                    return Ok(());
                }
                Err(error) => note = Some(error),
            }
        }
        let variables = wanted.iter().map(|reference| {
            let variable = variable_of(order.spec, reference)?;
            let value = (self.environment)(variable).filter(|v| !v.is_empty())?;
            Some((reference.key.as_str(), Substitute::from(value.into_bytes())))
        });
        match variables.collect::<Option<Vec<_>>>() {
            Some(found) => {
                values.substitute(found, Source::Environment, cause);
                Ok(())
            }
            None => Err(note),
        }
    }

    /// Reads the fallback Secret, after its metadata said that the request may have it.
    async fn fallback_secret<'g>(
        &self,
        order: &Order<'g>,
        name: &str,
        wanted: &[&'g ResolvedReference],
    ) -> Result<Vec<(&'g str, Substitute)>, FallbackError> {
        let request = &order.grant.facts().request;
        let key = ObjectKey::new(&request.namespace, name);
        let missing = || FallbackError::NotFound(key.clone());
        let check = |metadata: &ObjectMeta| {
            if allows_request(metadata, &request.name) {
                Ok(())
            } else {
                let request = request.name.clone();
                Err(FallbackError::NotAllowed { secret: key.clone(), request })
            }
        };
        let metadata = self.io.secret_metadata(&key).await.ok().flatten().ok_or_else(missing)?;
        check(&metadata)?;
        let mut secret = self.io.secret(&key).await.ok().flatten().ok_or_else(missing)?;
        // What was read may be another Secret than the one that was looked at.
        let checked = check(&secret.metadata).and_then(|()| {
            let is_opaque = secret.type_.as_deref().unwrap_or("Opaque") == "Opaque";
            is_opaque.then_some(()).ok_or_else(|| FallbackError::OtherType(key.clone()))
        });
        let found = checked.and_then(|()| {
            let data = secret.data.as_ref();
            let values = wanted.iter().map(|reference| {
                let value = data.and_then(|d| d.get(&reference.key));
                value.map(|v| (reference.key.as_str(), Substitute::from(v.0.clone()))).ok_or_else(
                    || FallbackError::KeyMissing {
                        secret: key.clone(),
                        key: reference.key.clone(),
                    },
                )
            });
            values.collect()
        });
        wipe(&mut secret);
        found
    }
}

/// Whether an object's owner lets a request use it.
#[must_use]
pub fn allows_request(metadata: &ObjectMeta, request: &str) -> bool {
    let allowed = metadata.annotations.as_ref().and_then(|a| a.get(ALLOW_REQUEST_ANNOTATION));
    allowed.is_some_and(|name| name == request)
}

/// The variable that the server maps to a field. The map is held against what a reference means: ids and
/// canonical names.
fn variable_of<'s>(spec: &'s ConnectServerSpec, reference: &ResolvedReference) -> Option<&'s str> {
    // A variable holds the value as it is, and nothing that is said of it or made of it.
    if reference.wanted != Wanted::Value {
        return None;
    }
    let item = &reference.item;
    let entry = spec.environment_map().iter().find(|entry| {
        let Ok(mapped) = entry.reference.parse::<Reference>() else { return false };
        // Whoever may title an item as another's id must not get what is mapped to that one.
        let is = |spelled: &str, id: &str, name: &str| {
            spelled == id || (spelled == name && !is_id(spelled))
        };
        is(&mapped.vault, &item.vault_id, &item.vault_name)
            && is(&mapped.item, &item.item_id, &item.title)
            && mapped.section.as_deref().map(fold) == reference.section.as_deref().map(fold)
            && fold(&mapped.field) == fold(&reference.field)
    });
    entry.map(|entry| entry.variable.as_str())
}

fn wipe(secret: &mut Secret) {
    for value in secret.data.iter_mut().flat_map(BTreeMap::values_mut) {
        value.0.zeroize();
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const VAULT: &str = "vvvvvvvvvvvvvvvvvvvvvvvvvv";
    const ITEM: &str = "iiiiiiiiiiiiiiiiiiiiiiiiii";
    /// The id of another item, and the title of this one: whoever may write in the vault may give it.
    const OTHER: &str = "oooooooooooooooooooooooooo";

    fn mapped(reference: &str) -> ConnectServerSpec {
        serde_json::from_value(json!({
            "hosts": [{"url": "https://connect.internal"}],
            "tokenSecretRef": {"name": "connect-token", "key": "token"},
            "access": [],
            "fallback": {"environment": [{"ref": reference, "variable": "DB_PASSWORD"}]},
        }))
        .unwrap()
    }

    fn reference(vault: &str, title: &str, section: Option<&str>) -> ResolvedReference {
        ResolvedReference {
            key: "password".to_owned(),
            item: ItemIdentity {
                vault_id: VAULT.into(),
                item_id: ITEM.into(),
                vault_name: vault.into(),
                title: title.into(),
            },
            version: 1,
            environment: None,
            class: String::new(),
            type_: "".into(),
            section: section.map(str::to_owned),
            field: "password".to_owned(),
            wanted: Wanted::Value,
        }
    }

    #[test]
    fn a_map_means_what_a_reference_means_by_names_or_ids() {
        for (spelled, is_meant) in [
            ("op://infra/db/password".to_owned(), true),
            ("op://infra/db/PASSWORD".to_owned(), true),
            (format!("op://{VAULT}/{ITEM}/password"), true),
            (format!("op://infra/{ITEM}/password"), true),
            ("op://infra/other/password".to_owned(), false),
            ("op://other/db/password".to_owned(), false),
            ("op://infra/db/username".to_owned(), false),
            ("op://infra/db/main/password".to_owned(), false),
            (format!("op://infra/{OTHER}/password"), false),
        ] {
            let spec = mapped(&spelled);
            let found = variable_of(&spec, &reference("infra", "db", None));
            assert_eq!(found.is_some(), is_meant, "{spelled}");
        }
        let spec = mapped("op://infra/db/Main/password");
        assert_eq!(
            variable_of(&spec, &reference("infra", "db", Some("main"))),
            Some("DB_PASSWORD")
        );
        assert_eq!(variable_of(&spec, &reference("infra", "db", None)), None);
    }

    #[test]
    fn what_has_the_id_of_another_for_its_name_does_not_get_what_is_mapped_to_that_one() {
        let by_item = mapped(&format!("op://infra/{OTHER}/password"));
        assert_eq!(variable_of(&by_item, &reference("infra", OTHER, None)), None);
        let by_vault = mapped(&format!("op://{OTHER}/db/password"));
        assert_eq!(variable_of(&by_vault, &reference(OTHER, "db", None)), None);
    }

    #[test]
    fn a_variable_holds_a_value_and_nothing_that_is_said_of_it() {
        let spec = mapped("op://infra/db/password");
        let kind = ResolvedReference { wanted: Wanted::Type, ..reference("infra", "db", None) };
        assert_eq!(variable_of(&spec, &kind), None);
    }
}
