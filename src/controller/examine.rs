//! From a request to a verdict, on what is known in memory: resolve, then decide. No I/O, so that it can
//! be done again just before a write.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::circumstances::Weighing;
use super::looks::Looks;
use super::policies::{Policies, whole_seconds};
use super::profiles::Profiles;
use super::requesters::Requesters;
use super::servers::{Servers, Slot, SlotState};
use crate::api::{ConnectServerSpec, CredentialRequestSpec, ENVIRONMENT_LABEL, Reason};
use crate::connect::Class;
use crate::fetch::Staleness;
use crate::index::{Index, ObjectKey, RequestEntry, VaultKey};
use crate::policy::{
    Access, Facts, NamespaceFacts, Refusal, RequestFacts, ResolvedReference, Verdict,
};
use crate::reference::{ParseError, Reference};
use crate::settings::Settings;
use crate::status::Problem;
use crate::vaults::{Found, Health, Server, Trouble, Unresolved, View};

/// What can be known of everything that a decision rests on.
pub(super) struct Knowledge {
    pub(super) index: Index,
    pub(super) servers: Servers,
    pub(super) policies: Policies,
    pub(super) looks: Looks,
    pub(super) requesters: Requesters,
    pub(super) profiles: Arc<Profiles>,
    pub(super) settings: Settings,
    /// Whether this instance was given namespaces by name, or its class is empty: it then speaks for
    /// requests whose server nobody has.
    pub(super) answers_for_missing_servers: bool,
}

/// What an examination came to.
pub(super) enum Examined {
    /// Another instance's request.
    Elsewhere,
    /// Something was asked for that [`crate::vaults::News`] will tell of.
    Wait,
    /// There is nothing to decide on.
    Undecided(Problem),
    /// Decided, with where to fetch from.
    Decided(Verdict, Upstream),
}

/// A server to fetch from.
#[derive(Clone)]
pub(super) struct Upstream {
    pub(super) server: Arc<Server>,
    pub(super) spec: Arc<ConnectServerSpec>,
}

impl Knowledge {
    /// Whether the requests of a server are another instance's.
    pub(super) fn is_elsewhere(&self, server: &str) -> bool {
        match self.servers.get(server) {
            Some(Slot::Elsewhere) => true,
            Some(Slot::Ours { .. }) => false,
            None => !self.answers_for_missing_servers,
        }
    }

    /// Examines a request as it is known now.
    pub(super) fn examine(
        &self,
        key: &ObjectKey,
        entry: &RequestEntry,
        spec: &CredentialRequestSpec,
        weighing: Weighing,
    ) -> Examined {
        let server_name = spec.server_name();
        let (server_spec, server) = match self.servers.get(server_name) {
            Some(Slot::Elsewhere) => return Examined::Elsewhere,
            None if !self.answers_for_missing_servers => return Examined::Elsewhere,
            None => {
                return Examined::Undecided(Problem::heals(
                    Reason::ServerNotFound,
                    format!(
                        "there is no ConnectServer {server_name}; kubectl get connectservers lists them, and \
                         spec.serverRef.name chooses one"
                    ),
                ));
            }
            Some(Slot::Ours { state: SlotState::New, .. }) => return Examined::Wait,
            Some(Slot::Ours { state: SlotState::Broken(broken), .. }) => {
                let message = format!("ConnectServer {server_name}: {}", broken.message);
                return Examined::Undecided(Problem::heals(broken.reason, message));
            }
            Some(Slot::Ours { spec, state: SlotState::Running(server) }) => (spec, server),
        };
        let looked = Instant::now();
        let view = server.view();
        if view.health == Health::Starting {
            return Examined::Wait;
        }
        // Before the first answer no vault is known, and what is allowed cannot be told from what is not:
        // an outage is never a denial.
        if let Health::Failing(trouble) = &view.health
            && !view.is_known()
        {
            return Examined::Undecided(self.problem_of(trouble, self.max_staleness(spec)));
        }
        let request =
            RequestFacts::new(&key.namespace, &key.name, &entry.uid, entry.generation, spec);
        // A namespace that was not told of yet is not one without labels; its arrival is told of.
        let Some(labels) = self.index.namespace_labels(&key.namespace) else {
            return Examined::Wait;
        };
        let namespace = NamespaceFacts { name: key.namespace.to_string(), labels };
        let resolving = Resolving {
            knowledge: self,
            key,
            server_spec: &server_spec,
            server: &server,
            view: &view,
            looked,
            access: Access::of(&server_spec.access, &namespace),
            namespace: &namespace,
            max_staleness: self.max_staleness(spec),
        };
        let upstream = Upstream { server: server.clone(), spec: server_spec.clone() };
        match resolving.references(spec) {
            Ok(references) => {
                let requester = self.requesters.of(entry);
                let facts = Facts { request, namespace: namespace.clone(), references, requester };
                let verdict = self.decide(facts, weighing, &resolving.access, &view);
                Examined::Decided(verdict, upstream)
            }
            Err(Failed::Outside(keys)) => {
                let keys: Vec<&str> = keys.iter().map(String::as_str).collect();
                Examined::Decided(
                    Verdict::Refused(Refusal::outside_access(&request, &keys)),
                    upstream,
                )
            }
            Err(Failed::Wait) => Examined::Wait,
            Err(Failed::Problem(problem)) => Examined::Undecided(problem),
        }
    }

    /// A failure of Connect that may pass, by how long it has lasted: nobody can be asked, or a refusal
    /// that is believed only after a while.
    pub(super) fn problem_of(&self, trouble: &Trouble, max_staleness: Duration) -> Problem {
        let (lasted, confirm) = (trouble.lasted(), self.settings.refusal_confirm);
        let (reason, message) = (trouble.error.reason(), trouble.error.to_string());
        let since = whole_seconds(trouble.since);
        match trouble.error.class() {
            Class::Refused | Class::NotFound if lasted < confirm => {
                // An outage may keep it from being believed for as long as it likes.
                let open = trouble.since.elapsed().unwrap_or_default();
                if open < max_staleness.max(confirm) {
                    Problem::tolerable(reason, message, since)
                } else {
                    Problem::heals(reason, message)
                }
            }
            Class::Refused | Class::NotFound => Problem::stalled(reason, message),
            Class::Invalid if reason == Reason::SecretTooLarge => Problem::stalled(reason, message),
            _ if lasted < max_staleness => Problem::tolerable(reason, message, since),
            _ => Problem::heals(reason, message),
        }
    }

    /// How long a Secret or a cached value of a request counts as good in an outage: the least of what server
    /// and request say.
    pub(super) fn max_staleness(&self, spec: &CredentialRequestSpec) -> Duration {
        self.staleness(spec).of_request
    }

    /// The same, with what the server says alone.
    pub(super) fn staleness(&self, spec: &CredentialRequestSpec) -> Staleness {
        let of_server = match self.servers.get(spec.server_name()) {
            Some(Slot::Ours { spec, .. }) => spec.max_staleness(),
            Some(Slot::Elsewhere) | None => None,
        };
        Staleness::new(of_server.unwrap_or(self.settings.max_staleness), spec.max_staleness())
    }

    /// What ails the server or one of the vaults that were looked into, if anything does.
    pub(super) fn trouble(&self, view: &View, facts: &Facts) -> Option<Trouble> {
        let of_vaults = || facts.items().filter_map(|item| view.vault_troubles.get(&item.vault_id));
        // A refusal counts before an outage: what 1Password refuses does not fall back because it is away, too.
        let refusal = of_vaults().find(|t| t.is_refusal());
        let outage = match &view.health {
            Health::Failing(trouble) => Some(trouble),
            Health::Starting | Health::Good => None,
        };
        refusal.or(outage).or_else(|| of_vaults().next()).cloned()
    }
}

struct Resolving<'a> {
    knowledge: &'a Knowledge,
    key: &'a ObjectKey,
    server_spec: &'a ConnectServerSpec,
    server: &'a Server,
    view: &'a View,
    /// When that was read.
    looked: Instant,
    access: Access<'a>,
    namespace: &'a NamespaceFacts,
    max_staleness: Duration,
}

enum Failed {
    /// These keys refer to what no access row allows.
    Outside(Vec<String>),
    Wait,
    Problem(Problem),
}

impl Resolving<'_> {
    /// Resolves every reference. What is outside access counts before anything else, so that nobody
    /// learns from another error whether it exists.
    fn references(&self, spec: &CredentialRequestSpec) -> Result<Vec<ResolvedReference>, Failed> {
        let (mut resolved, mut outside, mut failed) = (Vec::new(), Vec::new(), Vec::new());
        let mut vaults = BTreeSet::new();
        for entry in &spec.data {
            let unreadable = |error: ParseError| {
                let message = format!("spec.data[{}]: {error}", entry.key);
                Failed::Problem(Problem::stalled(error.reason(), message))
            };
            let reference = match (&entry.reference, &entry.from) {
                (Some(text), None) => text.parse().map_err(unreadable)?,
                (None, Some(parts)) => Reference::try_from(parts).map_err(unreadable)?,
                _ => {
                    let message =
                        format!("spec.data[{}]: set exactly one of ref and from", entry.key);
                    return Err(Failed::Problem(Problem::stalled(Reason::InvalidSpec, message)));
                }
            };
            let found = self.view.snapshot.resolve(&reference, &self.access);
            let vault = match self.view.snapshot.resolve_vault(&reference.vault, &self.access) {
                Ok(vault) => Some(vault.id.clone()),
                // In use all the same: for how long it has been gone is noted of no other.
                Err(Unresolved::VaultGone { vault_id, .. }) => Some(vault_id),
                Err(_) => None,
            };
            if let Some(vault) = vault.filter(|_| found != Err(Unresolved::NotAllowed)) {
                vaults.insert((self.server.name().clone(), vault));
            }
            match found {
                Ok(found) => resolved.push(self.reference(&entry.key, reference, found)),
                Err(Unresolved::NotAllowed) => outside.push(entry.key.clone()),
                Err(unresolved) => failed.push((entry.key.as_str(), reference, unresolved)),
            }
        }
        self.note_vaults(vaults);
        if !outside.is_empty() {
            return Err(Failed::Outside(outside));
        }
        // All are looked at, so that all lists that are needed are asked for at once.
        let mut problem = None;
        let mut waits = false;
        for (key, reference, unresolved) in failed {
            match self.problem(key, &reference, unresolved) {
                Some(found) => problem = problem.or(Some(found)),
                None => waits = true,
            }
        }
        match problem {
            _ if waits => Err(Failed::Wait),
            Some(problem) => Err(Failed::Problem(problem)),
            None => Ok(resolved),
        }
    }

    fn note_vaults(&self, vaults: BTreeSet<VaultKey>) {
        self.knowledge.index.set_vaults(self.key, vaults);
    }

    fn reference(&self, key: &str, reference: Reference, found: Found) -> ResolvedReference {
        let of_vault = self.server_spec.vault_environment(&found.item.vault_name);
        let of_namespace = self.namespace.labels.get(ENVIRONMENT_LABEL).map(String::as_str);
        ResolvedReference {
            key: key.to_owned(),
            environment: of_vault.or(of_namespace).map(str::to_owned),
            class: self.server_spec.vault_class(&found.item.vault_name).to_owned(),
            type_: found.category,
            item: found.item,
            version: found.version,
            section: reference.section,
            field: reference.field,
            wanted: reference.wanted,
        }
    }

    /// Whether the namespace may have a list read again for its sake.
    fn may_look(&self) -> bool {
        self.knowledge.looks.take(&self.key.namespace)
    }

    /// Why a reference means nothing, or `None` when it is worth waiting for another look.
    fn problem(&self, key: &str, reference: &Reference, unresolved: Unresolved) -> Option<Problem> {
        let stale = |vault_id: Option<&Arc<str>>| {
            let of_vault = vault_id.and_then(|id| self.view.vault_troubles.get(id));
            match (&self.view.health, of_vault) {
                (Health::Failing(trouble), _) | (_, Some(trouble)) => {
                    Some(self.knowledge.problem_of(trouble, self.max_staleness))
                }
                _ => None,
            }
        };
        let (vault, item) = (&reference.vault, &reference.item);
        match unresolved {
            Unresolved::NotListed { vault_id } => stale(Some(&vault_id)).or_else(|| {
                self.server.list(&vault_id, self.looked);
                None
            }),
            Unresolved::VaultNotFound => stale(None).or_else(|| {
                if self.server.look_for_vaults(|| self.may_look()) {
                    return None;
                }
                Some(Problem::stalled(
                    Reason::VaultNotFound,
                    format!(
                        "spec.data[{key}]: ConnectServer {} has no vault {vault}; check the name, or grant the \
                         Connect token access to the vault",
                        self.server.name()
                    ),
                ))
            }),
            Unresolved::VaultGone { vault_name, since, lasted, .. } => {
                let message = format!(
                    "spec.data[{key}]: the Connect token of ConnectServer {} has no access to vault {vault_name} any \
                     more, or the vault was deleted; grant it access again, or refer to another vault",
                    self.server.name()
                );
                Some(stale(None).unwrap_or_else(|| {
                    if lasted < self.knowledge.settings.refusal_confirm {
                        Problem::tolerable(Reason::AccessDenied, message, whole_seconds(since))
                    } else {
                        Problem::stalled(Reason::AccessDenied, message)
                    }
                }))
            }
            Unresolved::ItemNotFound { vault_id, vault_name } => stale(Some(&vault_id)).or_else(|| {
                if self.server.look_again(&vault_id, || self.may_look()) {
                    return None;
                }
                Some(Problem::stalled(
                    Reason::ItemNotFound,
                    format!("spec.data[{key}]: vault {vault_name} has no item {item}; archived items do not count"),
                ))
            }),
            Unresolved::AmbiguousVault(ids) => Some(Problem::stalled(
                Reason::AmbiguousVault,
                format!("spec.data[{key}]: {} vaults are called {vault}; use one of the ids {}", ids.len(), listed(&ids)),
            )),
            Unresolved::AmbiguousItem { vault_name, ids, .. } => Some(Problem::stalled(
                Reason::AmbiguousItem,
                format!(
                    "spec.data[{key}]: {} items of vault {vault_name} are called {item}; use one of the ids {}",
                    ids.len(),
                    listed(&ids)
                ),
            )),
            Unresolved::NotAllowed => None,
        }
    }
}

fn listed(ids: &[Arc<str>]) -> String {
    let shown: Vec<&str> = ids.iter().take(5).map(AsRef::as_ref).collect();
    shown.join(", ")
}
