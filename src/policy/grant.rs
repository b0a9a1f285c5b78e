use std::marker::PhantomData;
use std::sync::Arc;

use super::{Decision, Facts, Refusal, Verdict};
use crate::api::{OnRequestDeletion, SecretType};

/// An item by its ids and its canonical names: what policy decides on.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ItemIdentity {
    /// The vault's id.
    pub vault_id: Arc<str>,
    /// The item's id.
    pub item_id: Arc<str>,
    /// The vault's canonical name.
    pub vault_name: Arc<str>,
    /// The item's canonical title.
    pub title: Arc<str>,
}

/// Permission to read the items of one request and to write its one Secret.
///
/// Only [`decide`](super::decide) makes one. It cannot be copied, stored or sent anywhere as data: a
/// refresh decides again.
///
/// ```compile_fail,E0624
/// # fn f(facts: portcullis::policy::Facts, decision: portcullis::policy::Decision) {
/// let grant = portcullis::policy::Grant::issue(facts, decision);
/// # }
/// ```
/// ```compile_fail,E0451
/// # fn f(facts: portcullis::policy::Facts, decision: portcullis::policy::Decision) {
/// let grant = portcullis::policy::Grant { facts, decision };
/// # }
/// ```
/// ```compile_fail,E0277
/// fn copies<T: Clone>() {}
/// copies::<portcullis::policy::Grant>();
/// ```
#[derive(Debug)]
pub struct Grant {
    facts: Facts,
    decision: Decision,
}

/// Permission to read one item, which lives no longer than the [`Grant`] it comes from.
///
/// ```compile_fail,E0451
/// # fn f(item: &portcullis::policy::ItemIdentity) {
/// let granted = portcullis::policy::GrantedRef { item };
/// # }
/// ```
/// ```compile_fail,E0505
/// # fn f(grant: portcullis::policy::Grant) {
/// let item = grant.items().next();
/// drop(grant);
/// let _ = item.map(|i| i.identity().clone());
/// # }
/// ```
#[derive(Clone, Copy, Debug)]
pub struct GrantedRef<'g> {
    item: &'g ItemIdentity,
}

/// Permission to read one item that keeps its [`Grant`] alive: for a fetch that outlives whoever began it, so
/// that the next one finds what was fetched.
#[derive(Debug)]
pub struct KeptRef {
    _grant: Arc<Grant>,
    item: ItemIdentity,
}

/// The one Secret that a [`Grant`] allows to write.
#[derive(Clone, Copy, Debug)]
pub struct GrantedSecret<'g> {
    /// The namespace of the request and the Secret.
    pub namespace: &'g str,
    /// The Secret's name.
    pub name: &'g str,
    /// The Secret's type.
    pub type_: SecretType,
    /// Whether the Secret is owned by the request.
    pub on_request_deletion: OnRequestDeletion,
    /// The request's name.
    pub request_name: &'g str,
    /// The request's UID.
    pub request_uid: &'g str,
}

/// A [`Grant`] that was found to stand just now. A write demands one.
#[derive(Debug)]
pub struct Standing<'g> {
    grant: PhantomData<&'g Grant>,
}

/// Why a grant is not known to stand.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unconfirmed {
    /// Deciding again gave something else.
    Withdrawn,
    /// What the decision rests on is being read anew: nobody knows just now.
    Unknown,
    /// It stands, and what is about to be written cannot be recorded.
    Unrecorded,
}

impl Grant {
    pub(super) fn issue(facts: Facts, decision: Decision) -> Self {
        Self { facts, decision }
    }

    /// The items that may be read, each once.
    pub fn items(&self) -> impl Iterator<Item = GrantedRef<'_>> {
        self.facts.items().map(|item| GrantedRef { item })
    }

    /// The same, each for whoever cannot borrow.
    pub fn kept_items(self: &Arc<Self>) -> impl Iterator<Item = KeptRef> {
        self.facts.items().map(|item| KeptRef { _grant: self.clone(), item: item.clone() })
    }

    /// The same for one item of the grant.
    #[must_use]
    pub fn kept(self: &Arc<Self>, item: &ItemIdentity) -> Option<KeptRef> {
        self.kept_items().find(|kept| kept.item == *item)
    }

    /// The Secret that may be written.
    #[must_use]
    pub fn secret(&self) -> GrantedSecret<'_> {
        let request = &self.facts.request;
        GrantedSecret {
            namespace: &request.namespace,
            name: &request.secret_name,
            type_: request.secret_type,
            on_request_deletion: request.on_request_deletion,
            request_name: &request.name,
            request_uid: &request.uid,
        }
    }

    /// What was decided.
    #[must_use]
    pub fn decision(&self) -> &Decision {
        &self.decision
    }

    /// What it was decided on.
    #[must_use]
    pub fn facts(&self) -> &Facts {
        &self.facts
    }

    /// Holds the grant against a decision that was taken just now on all that has been observed since.
    ///
    /// # Errors
    /// [`Unconfirmed::Withdrawn`] when the request is another one, has another generation, or is decided on differently.
    pub fn confirm(&self, now: &Verdict) -> Result<Standing<'_>, Unconfirmed> {
        match now {
            Verdict::Granted(current)
                if current.decision.digest == self.decision.digest
                    && current.facts.request.uid == self.facts.request.uid
                    && current.facts.request.generation == self.facts.request.generation =>
            {
                Ok(Standing { grant: PhantomData })
            }
            Verdict::Granted(_) | Verdict::Held(_) | Verdict::Refused(Refusal { .. }) => {
                Err(Unconfirmed::Withdrawn)
            }
        }
    }
}

impl KeptRef {
    /// The permission itself.
    #[must_use]
    pub fn granted(&self) -> GrantedRef<'_> {
        GrantedRef { item: &self.item }
    }
}

impl<'g> GrantedRef<'g> {
    /// The item.
    #[must_use]
    pub fn identity(self) -> &'g ItemIdentity {
        self.item
    }
}
