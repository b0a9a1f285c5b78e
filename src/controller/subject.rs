//! The request that a reconcile is about, and what is known of its Secret.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::outcome::{is_basis_of, rendering};
use super::reconcile::Reconciler;
use crate::api::{CredentialRequestSpec, CredentialRequestStatus, Occasion, Reason};
use crate::fetch::Staleness;
use crate::index::{ObjectKey, RequestEntry};
use crate::policy::RequestFacts;
use crate::secret::{Receipt, SecretState, Signer, state_of};
use crate::status::Problem;

/// One request, as it was when its reconcile began.
pub(super) struct Subject<'a> {
    pub(super) key: &'a ObjectKey,
    pub(super) entry: Arc<RequestEntry>,
    pub(super) spec: CredentialRequestSpec,
    pub(super) status: Option<CredentialRequestStatus>,
    pub(super) signer: Signer,
    pub(super) receipt: Option<Receipt>,
    pub(super) state: SecretState,
    pub(super) rendering: Vec<u8>,
    pub(super) request: RequestFacts,
    /// Whether the spec as it is was granted before.
    pub(super) occasion: Occasion,
    pub(super) started: Instant,
    /// How long its Secret counts as good in an outage.
    pub(super) max_staleness: Duration,
    /// The same for values that are kept.
    pub(super) staleness: Staleness,
}

impl Subject<'_> {
    /// What somebody asked for by the refresh annotation and was not acted on yet.
    pub(super) fn refresh_wanted(&self) -> Option<&str> {
        let handled = self.status.as_ref().and_then(|s| s.last_handled_refresh_request.as_deref());
        self.entry.refresh_requested.as_deref().filter(|wanted| handled != Some(wanted))
    }
}

impl Reconciler {
    pub(super) fn subject<'a>(
        &self,
        key: &'a ObjectKey,
        entry: Arc<RequestEntry>,
    ) -> Result<Subject<'a>, Problem> {
        let spec = entry.spec().map_err(|place| {
            Problem::stalled(
                Reason::InvalidSpec,
                format!("this version of Portcullis cannot read spec, {place}; upgrade Portcullis or mend the request"),
            )
        })?;
        let status = entry.status();
        let signer = self.keys.signer(&key.namespace, &key.name);
        let receipt = status
            .as_ref()
            .and_then(|s| s.sync.as_ref())
            .and_then(|sync| signer.read_receipt(&entry.uid, &sync.receipt));
        let state = self.state(key, &entry, &signer, receipt.as_ref());
        let request =
            RequestFacts::new(&key.namespace, &key.name, &entry.uid, entry.generation, &spec);
        Ok(Subject {
            key,
            occasion: match &receipt {
                Some(receipt) if receipt.granted == request.spec_id() => Occasion::Refresh,
                Some(_) | None => Occasion::Grant,
            },
            request,
            rendering: rendering(&entry.uid, &spec),
            started: Instant::now(),
            max_staleness: self.knowledge.max_staleness(&spec),
            staleness: self.knowledge.staleness(&spec),
            entry,
            spec,
            status,
            signer,
            receipt,
            state,
        })
    }

    pub(super) fn state(
        &self,
        key: &ObjectKey,
        entry: &RequestEntry,
        signer: &Signer,
        receipt: Option<&Receipt>,
    ) -> SecretState {
        let secret =
            ObjectKey { namespace: key.namespace.clone(), name: entry.secret_name.clone() };
        let known = self.knowledge.index.secret(&secret);
        state_of(known.as_deref(), &secret, &key.name, signer, receipt)
    }

    /// Whether the request has a Secret to go on with while 1Password cannot be asked: ours, made for this
    /// spec, and holding what we wrote.
    pub(super) async fn has_good_secret(&self, subject: &Subject<'_>) -> bool {
        let Some(receipt) =
            subject.receipt.as_ref().filter(|r| is_basis_of(&r.basis, &subject.rendering))
        else {
            return false;
        };
        match self.state(subject.key, &subject.entry, &subject.signer, Some(receipt)) {
            SecretState::Intact => true,
            SecretState::Touched => {
                let secret = ObjectKey::new(&subject.key.namespace, &subject.entry.secret_name);
                self.secrets.holds(&secret, &subject.signer, receipt).await
            }
            SecretState::Absent | SecretState::Unproven | SecretState::Foreign => false,
        }
    }
}
