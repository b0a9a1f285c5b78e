//! How long a decision takes: with ordinary policies, and with the worst that is admitted.

mod worst;

use std::hint::black_box;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::ensure;
use portcullis_test_support::portcullis::api::{
    AccessRow, CredentialPolicySpec, CredentialRequestSpec, Namespaces, Occasion, Outcome,
    VaultSelector,
};
use portcullis_test_support::portcullis::behavior::{Anomaly, History};
use portcullis_test_support::portcullis::policy::{
    Access, Circumstances, Decision, Facts, ItemIdentity, NamespaceFacts, PolicySet, PolicyState,
    RequestFacts, Requester, ResolvedReference, ServiceFacts, Transient, decide,
};
use portcullis_test_support::portcullis::reference::Wanted;
use serde_json::{Value, json};

use crate::figures::Figures;

/// How many decisions are averaged.
const DECISIONS: u32 = 10_000;
/// The most that one of them may take, in microseconds.
const AIM: f64 = 50.0;

/// Five policies of five rules each, as the cookbook and the chart have them. A rule with a number scores, any other
/// has an effect.
const ORDINARY: [[(&str, &str); 5]; 5] = [
    [
        ("30", "refs.exists(r, r.environment == 'production')"),
        ("20", "!history.learning && anomalies.size() > 0"),
        ("20", "!history.learning && anomalies.size() > 1"),
        ("Alert", "history.learning && anomalies.size() > 0"),
        (
            "Defer",
            "!history.learning && history.newItems > 0 && history.newItemsLastHour > 0 && history.newItemsLastHour + history.newItems > 100",
        ),
    ],
    [
        ("Deny", "refs.exists(r, r.item.matches('(^|[-_ ])(root|admin|superuser)($|[-_ ])'))"),
        ("Deny", "!request.claims.purpose.matches('(^|[^A-Z])[A-Z]{2,10}-[0-9]+($|[^0-9])')"),
        ("Deny", "refs.exists(a, refs.exists(b, a.environment != b.environment))"),
        ("10", "request.claims.consumer == ''"),
        ("10", "request.fallbackSecret != ''"),
    ],
    [
        (
            "Deny",
            "refs.exists(r, r.vault.startsWith('team-') && !('example.com/team' in namespace.labels && r.vault == 'team-' + namespace.labels['example.com/team']))",
        ),
        (
            "Deny",
            "refs.exists(r, r.class == 'emergency') && !('example.com/incident' in namespace.labels)",
        ),
        (
            "Deny",
            "refs.exists(r, r.type == 'SSH_KEY') && (!('example.com/team' in namespace.labels) || namespace.labels['example.com/team'] != 'platform')",
        ),
        ("Alert", "refs.exists(r, r.class == 'emergency')"),
        ("10", "namespace.name.startsWith('sandbox-')"),
    ],
    [
        (
            "Defer",
            "now.getHours('Europe/Berlin') < 8 || now.getHours('Europe/Berlin') >= 18 || now.getDayOfWeek('Europe/Berlin') in [0, 6]",
        ),
        (
            "Deny",
            "now >= timestamp('2026-12-18T17:00:00Z') && now < timestamp('2027-01-04T07:00:00Z')",
        ),
        ("Defer", "!service.reachable || service.secondsSinceAnswer > 300"),
        ("40", "!requester.verified"),
        ("Alert", "now.getDayOfWeek('Europe/Berlin') == 5 && now.getHours('Europe/Berlin') >= 15"),
    ],
    [
        ("Deny", "!history.learning && anomalies.exists(a, a.detector != 'FirstAppearance')"),
        ("Defer", "history.denialsLastDay >= 5"),
        ("10", "history.averageRisk > 40 || history.maxRisk > 90"),
        ("10", "history.grants == 0 && history.firstSeenSeconds < 3600"),
        ("Alert", "history.vaultItemsLastDay > 50"),
    ],
];

pub(crate) fn run(figures: &mut Figures) -> anyhow::Result<()> {
    figures.aim("decision_us", ordinary()?.as_secs_f64() * 1e6, "us", AIM);
    figures.add_ms("worst_policy_ms", worst::run()?);
    Ok(())
}

/// The time of one of many equal decisions. In it is all of [`decide`]: access, which policies apply, the facts in CEL's
/// terms, the rules, score and digest; and a copy of the facts, which a decision takes for itself. Not in it is what
/// comes before: rules are compiled once, and items are resolved.
fn ordinary() -> anyhow::Result<Duration> {
    let policies = ORDINARY.iter().enumerate().map(|(number, rules)| {
        let rules = rules.iter().enumerate().map(|(rule, &(weight, when))| {
            let mut rule = json!({"name": format!("rule-{rule}"), "when": when, "message": "an ordinary rule"});
            match weight.parse::<i32>() {
                Ok(score) => rule["score"] = json!(score),
                Err(_) => rule["effect"] = json!(weight),
            }
            rule
        });
        compiled(&format!("policy-{number}"), &rules.collect::<Vec<_>>())
    });
    let policies = policies.collect::<anyhow::Result<Vec<_>>>()?;
    ensure!(
        policies.iter().all(|policy| matches!(policy, PolicyState::Compiled(_))),
        "an ordinary policy does not compile"
    );
    let all = policies.len();
    let policies = PolicySet::new(policies.into_iter().map(Arc::new).collect());
    let references = ["orders-db", "orders-api"].map(|title| reference("services", title));
    let facts = facts(references.into())?;
    let circumstances = circumstances(Vec::new())?;

    let (first, _) = decided(&facts, &circumstances, &policies);
    ensure!(
        (first.outcome, first.policies.len()) == (Outcome::Allowed, all),
        "the ordinary request is {}",
        first.message
    );
    let rows = [everything()];
    let access = Access::of(&rows, &facts.namespace);
    let started = Instant::now();
    for _ in 0..DECISIONS {
        black_box(decide(facts.clone(), &circumstances, &access, &policies));
    }
    Ok(started.elapsed() / DECISIONS)
}

/// One decision, and how long it took.
fn decided(
    facts: &Facts,
    circumstances: &Circumstances,
    policies: &PolicySet,
) -> (Decision, Duration) {
    let rows = [everything()];
    let access = Access::of(&rows, &facts.namespace);
    let facts = facts.clone();
    let started = Instant::now();
    let verdict = decide(facts, circumstances, &access, policies);
    (verdict.decision().clone(), started.elapsed())
}

fn compiled(name: &str, rules: &[Value]) -> anyhow::Result<PolicyState> {
    let spec: CredentialPolicySpec = serde_json::from_value(json!({"rules": rules}))?;
    Ok(PolicyState::compile(name, &spec))
}

fn everything() -> AccessRow {
    AccessRow {
        name: "everything".to_owned(),
        namespaces: Namespaces { all: Some(true), ..Namespaces::default() },
        vaults: vec![VaultSelector { name: Some("*".to_owned()), id: None }],
        items: None,
    }
}

fn facts(references: Vec<ResolvedReference>) -> anyhow::Result<Facts> {
    let spec: CredentialRequestSpec = serde_json::from_value(json!({
        "purpose": "orders reads its database, OPS-123",
        "consumer": {"serviceAccountName": "orders"},
        "data": [],
    }))?;
    let labels = [
        ("example.com/team", "shop"),
        ("kubernetes.io/metadata.name", "shop"),
        ("portcullis.dev/environment", "production"),
    ];
    Ok(Facts {
        request: RequestFacts::new("shop", "orders", "7d7a02f6", 1, &spec),
        namespace: NamespaceFacts {
            name: "shop".to_owned(),
            labels: labels.map(|(key, value)| (key.to_owned(), value.to_owned())).into(),
        },
        references,
        requester: Some(Requester { name: "jo@example.com".to_owned(), verified: true }),
    })
}

fn reference(vault: &str, title: &str) -> ResolvedReference {
    ResolvedReference {
        key: title.to_owned(),
        item: ItemIdentity {
            vault_id: "v".repeat(26).into(),
            item_id: "i".repeat(26).into(),
            vault_name: vault.into(),
            title: title.into(),
        },
        version: 1,
        environment: Some("production".to_owned()),
        class: "services".to_owned(),
        type_: "LOGIN".into(),
        section: None,
        field: "password".to_owned(),
        wanted: Wanted::Value,
    }
}

/// On a Wednesday, at eleven in Berlin.
fn circumstances(anomalies: Vec<Anomaly>) -> anyhow::Result<Circumstances> {
    Ok(Circumstances {
        occasion: Occasion::Grant,
        transient: Some(Transient {
            now: "2026-11-25T10:00:00Z".parse()?,
            anomalies,
            history: History { grants: 7, items: 12, ..History::default() },
            service: ServiceFacts { reachable: true, seconds_since_answer: 3 },
            lasts: Transient::LASTS,
        }),
    })
}
