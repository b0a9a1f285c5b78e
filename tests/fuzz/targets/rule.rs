//! Whatever stands in a rule is refused or decided with: soon, without a panic, and the same each time.
#![no_main]

use std::sync::{Arc, LazyLock};

use libfuzzer_sys::fuzz_target;
use portcullis::api::{AccessRow, CredentialPolicySpec, CredentialRequestSpec, Occasion};
use portcullis::behavior::{Anomaly, Detector, History};
use portcullis::policy::{
    Access, Circumstances, Facts, ItemIdentity, NamespaceFacts, PolicySet, PolicyState,
    RequestFacts, Requester, ResolvedReference, ServiceFacts, Transient, decide,
};
use portcullis::reference::Wanted;
use serde_json::{from_value, json};

static FACTS: LazyLock<Facts> = LazyLock::new(facts);
static CIRCUMSTANCES: LazyLock<Circumstances> = LazyLock::new(circumstances);
static ROWS: LazyLock<Vec<AccessRow>> = LazyLock::new(|| {
    let row = json!({"name": "all", "namespaces": {"all": true}, "vaults": [{"name": "*"}]});
    vec![from_value(row).expect("a row")]
});

fuzz_target!(|when: &str| {
    let rule = json!({"name": "fuzzed", "when": when, "score": 1, "message": "fuzzed"});
    let spec: CredentialPolicySpec = from_value(json!({"rules": [rule]})).expect("a policy");
    let state = PolicyState::compile("fuzzed", &spec);
    if let PolicyState::Invalid { error, column, .. } = &state {
        assert!(!error.to_string().is_empty() && *column != Some(0));
        return;
    }
    let policies = PolicySet::new(vec![Arc::new(state)]);
    let access = Access::of(&ROWS, &FACTS.namespace);
    let verdict = || decide(FACTS.clone(), &CIRCUMSTANCES, &access, &policies);
    assert_eq!(verdict().decision(), verdict().decision());
});

/// A request of a few references that differ: comprehensions go through more than one element, and what a rule may
/// cost at most is for `make bench` to find.
fn facts() -> Facts {
    let request: CredentialRequestSpec = from_value(json!({
        "purpose": "orders reads its database, OPS-123",
        "environment": "production",
        "consumer": {"serviceAccountName": "orders"},
        "data": [{"key": "URL", "ref": "op://services/orders-db/main/url"}],
        "fallback": {"secretRef": {"name": "orders-spare"}},
    }))
    .expect("a request");
    let labels = [("example.com/team", "shop"), ("team", "shöp")];
    Facts {
        request: RequestFacts::new("shop", "orders", "uid-1", 1, &request),
        namespace: NamespaceFacts {
            name: "shop".to_owned(),
            labels: labels.map(|(key, value)| (key.to_owned(), value.to_owned())).into(),
        },
        references: vec![
            reference("URL", "services", "orders-db", Some("main")),
            reference("KEY", "services", "orders-api", None),
            reference("TOKEN", "Größe", "a title with spaces", Some("")),
        ],
        requester: Some(Requester { name: "jo@example.com".to_owned(), verified: true }),
    }
}

fn reference(key: &str, vault: &str, title: &str, section: Option<&str>) -> ResolvedReference {
    ResolvedReference {
        key: key.to_owned(),
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
        section: section.map(str::to_owned),
        field: "password".to_owned(),
        wanted: Wanted::Value,
    }
}

fn circumstances() -> Circumstances {
    let anomaly =
        |detector| Anomaly { detector, message: "never granted before: vault x".to_owned() };
    Circumstances {
        occasion: Occasion::Grant,
        transient: Some(Transient {
            now: "2026-11-25T02:07:00Z".parse().expect("a time"),
            anomalies: vec![anomaly(Detector::NewVault), anomaly(Detector::UnusualHour)],
            history: History { grants: 7, new_items: 3, items: 40, ..History::default() },
            service: ServiceFacts { reachable: true, seconds_since_answer: 3 },
            lasts: Transient::LASTS,
        }),
    }
}
