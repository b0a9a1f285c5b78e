use std::collections::BTreeMap;
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use portcullis::api::{
    AccessRow, CredentialPolicySpec, CredentialRequestSpec, Namespaces, Occasion, Outcome,
    VaultSelector,
};
use portcullis::behavior::{AttemptedItem, Installation, NotedOutcome, Profile, Profiles, Seen};
use portcullis::policy::{
    Access, Circumstances, Decision, Facts, ItemIdentity, NamespaceFacts, PolicySet, PolicyState,
    RequestFacts, ResolvedReference, ServiceFacts, Transient, decide,
};
use portcullis::reference::Wanted;
use portcullis::settings::Settings;
use serde_json::json;

use crate::manifests;

/// How often what waits is decided on again. The operator does so each minute; to what comes of it an hour later the
/// difference is none.
const AGAIN: TimeDelta = TimeDelta::minutes(5);

/// The policy that ships with the operator, alone.
static BASELINE: LazyLock<PolicySet> = LazyLock::new(|| {
    let spec = manifests::baseline().map(|mut policy| policy["spec"].take());
    let spec: CredentialPolicySpec = serde_json::from_value(spec.expect("deploy/ has a policy"))
        .expect("it is one of this version");
    let policy = PolicyState::compile("baseline", &spec);
    assert!(matches!(policy, PolicyState::Compiled(_)), "it compiles");
    PolicySet::new(vec![Arc::new(policy)])
});

/// A cluster whose operator decides by its policy `baseline`.
#[derive(Clone, Debug)]
pub struct Site {
    profiles: Profiles,
    settings: Settings,
    created: BTreeMap<String, DateTime<Utc>>,
    made: usize,
    /// What is deferred, by namespace and request, and since when it was not looked at.
    waiting: BTreeMap<(String, String), (Facts, DateTime<Utc>)>,
    /// What was counted in the learning period.
    pub learning: Tally,
    /// What was counted after it.
    pub after: Tally,
}

/// What the attempts of a time came to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// All attempts.
    pub attempts: usize,
    /// Those with an anomaly.
    pub anomalous: usize,
    /// Those that were alerted.
    pub alerted: usize,
    /// Those that were denied.
    pub denied: usize,
    /// Those that were deferred.
    pub deferred: usize,
    /// Anomalies by detector.
    pub by_detector: BTreeMap<&'static str, usize>,
}

/// Midnight before the Monday on which the site was installed.
pub(super) fn installed_at() -> DateTime<Utc> {
    DateTime::from_timestamp(1_900_022_400, 0).unwrap_or_default()
}

impl Site {
    pub(super) fn new() -> Self {
        Self {
            profiles: Profiles::default(),
            settings: Settings::default(),
            created: BTreeMap::new(),
            made: 0,
            waiting: BTreeMap::new(),
            learning: Tally::default(),
            after: Tally::default(),
        }
    }

    /// Decides on a new request, or a new spec of one, and takes it in. Says how many anomalies it had.
    pub(super) fn ask(
        &mut self,
        at: DateTime<Utc>,
        (namespace, request): (&str, &str),
        consumer: Option<&str>,
        items: &[AttemptedItem],
    ) -> (usize, Outcome) {
        self.wait_until(at);
        let facts = self.facts((namespace, request), consumer, items);
        let of = (namespace.to_owned(), request.to_owned());
        // Whatever it waited for was for the spec before.
        self.waiting.remove(&of);
        let decision = self.decide(&facts, at);
        if decision.outcome == Outcome::Deferred {
            self.waiting.insert(of, (facts, at));
        }
        let learns = decision.transient.as_ref().is_some_and(|t| t.history.learning);
        let tally = if learns { &mut self.learning } else { &mut self.after };
        tally.count(&decision);
        (decision.anomalies().len(), decision.outcome)
    }

    /// Decides again on what waits, until then. Returns how many items it came to.
    pub(super) fn wait_until(&mut self, now: DateTime<Utc>) -> usize {
        let mut granted = 0;
        while let Some((of, at)) = self.next_of_waiting().filter(|(_, at)| *at <= now) {
            let Some((facts, _)) = self.waiting.remove(&of) else { break };
            match self.decide(&facts, at).outcome {
                Outcome::Deferred => {
                    self.waiting.insert(of, (facts, at));
                }
                Outcome::Allowed | Outcome::Alerted => granted += facts.references.len(),
                Outcome::Denied => {}
            }
        }
        granted
    }

    /// What of what waits is to be decided on next, and when.
    fn next_of_waiting(&self) -> Option<((String, String), DateTime<Utc>)> {
        let all = self.waiting.iter().map(|(of, (_, looked))| (of, *looked + AGAIN));
        all.min_by_key(|(_, at)| *at).map(|(of, at)| (of.clone(), at))
    }

    /// Takes in that another policy denied a request, whatever its past.
    pub(super) fn refuse(&mut self, at: DateTime<Utc>, of: (&str, &str), items: &[AttemptedItem]) {
        let attempt = self.facts(of, None, items).attempt(Some(self.created(of.0)), at);
        let installation = self.installation();
        let denied = |_| ((), Some(NotedOutcome::Denied { risk: 100 }));
        self.profiles.weigh(&attempt, &installation, &self.settings.behavior, denied);
    }

    /// Says when a namespace was created; one that nobody speaks of is a month older than the site.
    pub(super) fn create_namespace(&mut self, namespace: &str, at: DateTime<Utc>) {
        self.created.insert(namespace.to_owned(), at);
    }

    /// The stored profile of a namespace is deleted, and the operator starts anew with what is stored.
    pub(super) fn lose_profile(&mut self, namespace: &str) {
        let mut restarted = Profiles::default();
        for (name, profile) in self.profiles.iter().filter(|(name, _)| *name != namespace) {
            let stored = profile.seal(name, |_| String::new());
            let read = Profile::open(name, &stored, |_, _| true);
            restarted.load(name, read.unwrap_or_else(|_| profile.clone()));
        }
        self.profiles = restarted;
    }

    fn decide(&mut self, facts: &Facts, now: DateTime<Utc>) -> Decision {
        let attempt = facts.attempt(Some(self.created(&facts.request.namespace)), now);
        let installation = self.installation();
        let rows = [everything()];
        let access = Access::of(&rows, &facts.namespace);
        let service = ServiceFacts { reachable: true, seconds_since_answer: 1 };
        let decide = |Seen { anomalies, history }| {
            let transient =
                Some(Transient { now, anomalies, history, service, lasts: Transient::LASTS });
            let circumstances = Circumstances { occasion: Occasion::Grant, transient };
            let verdict = decide(facts.clone(), &circumstances, &access, &BASELINE);
            let decision = verdict.decision().clone();
            let risk = decision.risk_score;
            let outcome = match decision.outcome {
                Outcome::Allowed | Outcome::Alerted => NotedOutcome::Granted { risk },
                Outcome::Deferred => NotedOutcome::Deferred,
                Outcome::Denied => NotedOutcome::Denied { risk },
            };
            (decision, Some(outcome))
        };
        self.profiles.weigh(&attempt, &installation, &self.settings.behavior, decide).0
    }

    fn installation(&self) -> Installation {
        Installation { installed_at: installed_at(), learning: self.settings.learning }
    }

    fn created(&self, namespace: &str) -> DateTime<Utc> {
        let old = installed_at() - TimeDelta::days(30);
        self.created.get(namespace).copied().unwrap_or(old)
    }

    /// A request with a UID and a spec that were not there before.
    fn facts(
        &mut self,
        (namespace, request): (&str, &str),
        consumer: Option<&str>,
        items: &[AttemptedItem],
    ) -> Facts {
        self.made += 1;
        let mut spec = json!({"purpose": format!("number {}", self.made), "data": []});
        if let Some(consumer) = consumer {
            spec["consumer"] = json!({"serviceAccountName": consumer});
        }
        let spec: CredentialRequestSpec = serde_json::from_value(spec).expect("it is a spec");
        let uid = format!("uid-{}", self.made);
        Facts {
            request: RequestFacts::new(namespace, request, &uid, 1, &spec),
            namespace: NamespaceFacts { name: namespace.to_owned(), labels: BTreeMap::new() },
            references: items.iter().map(reference).collect(),
            requester: None,
        }
    }
}

impl Tally {
    fn count(&mut self, decision: &Decision) {
        self.attempts += 1;
        self.anomalous += usize::from(!decision.anomalies().is_empty());
        self.alerted += usize::from(decision.outcome == Outcome::Alerted);
        self.denied += usize::from(decision.outcome == Outcome::Denied);
        self.deferred += usize::from(decision.outcome == Outcome::Deferred);
        for anomaly in decision.anomalies() {
            *self.by_detector.entry(anomaly.detector.as_str()).or_default() += 1;
        }
    }
}

/// The access row of a site where policy alone decides.
fn everything() -> AccessRow {
    AccessRow {
        name: "everything".to_owned(),
        namespaces: Namespaces { all: Some(true), ..Namespaces::default() },
        vaults: vec![VaultSelector { name: Some("*".to_owned()), id: None }],
        items: None,
    }
}

fn reference(item: &AttemptedItem) -> ResolvedReference {
    ResolvedReference {
        key: item.item_id.clone(),
        item: ItemIdentity {
            vault_id: item.vault_id.as_str().into(),
            item_id: item.item_id.as_str().into(),
            vault_name: item.vault_name.as_str().into(),
            title: item.item_id.as_str().into(),
        },
        version: 1,
        environment: item.environment.clone(),
        class: "integrations".to_owned(),
        type_: "LOGIN".into(),
        section: None,
        field: "password".to_owned(),
        wanted: Wanted::Value,
    }
}

/// An item of a vault, by its number.
pub(super) fn item(vault: &str, environment: Option<&str>, number: usize) -> AttemptedItem {
    AttemptedItem {
        vault_id: format!("vault-{vault}"),
        item_id: format!("{vault}-{number}"),
        vault_name: vault.to_owned(),
        environment: environment.map(str::to_owned),
    }
}

/// A time of a day after the installation.
pub(super) fn at(day: usize, hour: usize, minute: usize) -> DateTime<Utc> {
    let minutes = (day * 24 + hour) * 60 + minute;
    installed_at() + Duration::from_secs(minutes as u64 * 60)
}
