//! The real program, run as a process: no value and no token is found in anything that it says, and it ends in order.

use std::time::Duration;

use portcullis::api::{AccessProfile, CredentialRequest, Reason};
use portcullis_test_support::connect_dev::{FaultKind, FaultSpec, ItemSpec};
use portcullis_test_support::k8s_openapi::api::core::v1::Secret;
use portcullis_test_support::k8s_openapi::api::events::v1::Event;
use portcullis_test_support::kube::Api;
use portcullis_test_support::kube::api::ListParams;
use portcullis_test_support::{Bed, manifests, wait};
use serde_json::{Value, json};

use crate::program::Program;

const ITEM: &str = "GET /v1/vaults/{v}/items/{i}";

/// Standard base64 of `value` at each of the three places where it can begin within a longer text, without the
/// characters at the edges, which depend on what is around it.
fn base64_forms(value: &str) -> Vec<String> {
    const ALPHABET: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    (0..3)
        .map(|shift| {
            let bytes: Vec<u8> = std::iter::repeat_n(0, shift).chain(value.bytes()).collect();
            let whole = bytes.chunks_exact(3).skip(usize::from(shift > 0));
            let digits = whole.flat_map(|c| {
                let n = u32::from(c[0]) << 16 | u32::from(c[1]) << 8 | u32::from(c[2]);
                [18, 12, 6, 0].map(|at| char::from(ALPHABET[(n >> at & 63) as usize]))
            });
            digits.collect()
        })
        .collect()
}

/// Everything that others may read of what the operator wrote, by where it was found.
async fn readable(bed: &Bed, program: &Program) -> Vec<(String, String)> {
    let all = ListParams::default();
    let mut places = vec![
        ("stdout".to_owned(), program.stdout.text()),
        ("stderr".to_owned(), program.stderr.text()),
        ("/metrics".to_owned(), program.get("/metrics").await.unwrap()),
        ("the ConnectServer".to_owned(), json!(bed.get_server().await).to_string()),
    ];
    let requests: Api<CredentialRequest> = bed.requests();
    for request in requests.list(&all).await.unwrap() {
        places.push((format!("request {:?}", request.metadata.name), json!(request).to_string()));
    }
    for policy in bed.policies().list(&all).await.unwrap() {
        places.push((format!("policy {:?}", policy.metadata.name), json!(policy).to_string()));
    }
    let profiles: Api<AccessProfile> = Api::namespaced(bed.client.clone(), &bed.operator_namespace);
    for profile in profiles.list(&all).await.unwrap() {
        places.push((format!("profile {:?}", profile.metadata.name), json!(profile).to_string()));
    }
    for namespace in [&bed.namespace, &bed.operator_namespace] {
        let events: Api<Event> = Api::namespaced(bed.client.clone(), namespace);
        places.push((
            format!("Events of {namespace}"),
            json!(events.list(&all).await.unwrap().items).to_string(),
        ));
        let secrets: Api<Secret> = Api::namespaced(bed.client.clone(), namespace);
        for mut secret in secrets.list(&all).await.unwrap() {
            secret.data = None;
            places.push((format!("Secret {:?}", secret.metadata.name), json!(secret).to_string()));
        }
    }
    places
}

/// What the commands make of the audit stream.
async fn audited(bed: &Bed, program: &Program) -> Vec<(String, String)> {
    let file = |end: &str| std::env::temp_dir().join(format!("{}.{end}", bed.class));
    let (log, page) = (file("log"), file("html"));
    std::fs::write(&log, program.stdout.text()).unwrap();
    let (log_name, page_name) = (log.to_str().unwrap(), page.to_str().unwrap());
    let mut places = Vec::new();
    for args in [
        vec!["list", log_name],
        vec!["list", "-o", "json", log_name],
        vec!["verify", log_name],
        vec!["report", "-o", page_name, log_name],
    ] {
        let output = crate::audit::audit(Some(bed), &args).await;
        let said = [output.stdout, output.stderr].concat();
        // The operator goes on: the checkpoint may know of more by now.
        let could = matches!(output.status.code(), Some(0 | 2));
        assert!(could, "{args:?}: {}", String::from_utf8_lossy(&said));
        places.push((format!("audit {}", args[0]), String::from_utf8_lossy(&said).into_owned()));
    }
    let policies = std::env::temp_dir().join(format!("{}.yaml", bed.class));
    std::fs::copy(manifests::repository().join("docs/cookbook/no-root-accounts.yaml"), &policies)
        .unwrap();
    let replay =
        ["policy", "replay", "-o", "json", "--policies", policies.to_str().unwrap(), log_name];
    let replay = std::process::Command::new(env!("CARGO_BIN_EXE_portcullis")).args(replay).output();
    let replay = replay.unwrap();
    let said = String::from_utf8_lossy(&[replay.stdout, replay.stderr].concat()).into_owned();
    assert!(matches!(replay.status.code(), Some(0 | 1)), "{said}");
    places.push(("policy replay".to_owned(), said));
    std::fs::remove_file(policies).unwrap();
    places.push(("the page for auditors".to_owned(), std::fs::read_to_string(&page).unwrap()));
    assert!(places.iter().filter(|(_, text)| text.contains("orders-db")).count() >= 3);
    for file in [log, page] {
        std::fs::remove_file(file).unwrap();
    }
    places
}

/// What the commands for people say of requests, and of one that is planned.
async fn explained(bed: &Bed, requests: &[&str]) -> Vec<(String, String)> {
    let folder = std::env::temp_dir().join(format!("{}-explained", bed.class));
    std::fs::create_dir(&folder).unwrap();
    let (kubeconfig, file) = (folder.join("kubeconfig"), folder.join("request.yaml"));
    let admin = portcullis_test_support::Cluster::shared().await.kubeconfig_path();
    std::fs::copy(admin, &kubeconfig).unwrap();
    let planned = json!({
        "apiVersion": "portcullis.dev/v1alpha1", "kind": "CredentialRequest",
        "metadata": {"name": "planned"}, "spec": bed.spec(),
    });
    std::fs::write(&file, planned.to_string()).unwrap();
    let table = "docs/cookbook/no-root-accounts.test.yaml";
    let explains = requests.iter().flat_map(|name| [vec!["explain", name], vec!["refresh", name]]);
    let all = explains.chain([
        vec!["plan", "-f", file.to_str().unwrap()],
        vec!["plan", "-o", "json", "-f", file.to_str().unwrap()],
        vec!["policy", "test", "-f", table],
    ]);
    let places = all.map(|args| {
        let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_portcullis"));
        command.args(&args).current_dir(manifests::repository()).env("KUBECONFIG", &kubeconfig);
        if args[0] != "policy" {
            command.args(["--namespace", &bed.namespace]);
        }
        let output = command.output().unwrap();
        let said = [output.stdout, output.stderr].concat();
        let said = String::from_utf8_lossy(&said).into_owned();
        assert!(matches!(output.status.code(), Some(0 | 2)), "{args:?}: {said}");
        (args.join(" "), said)
    });
    let places = places.collect();
    std::fs::remove_dir_all(&folder).unwrap();
    places
}

#[tokio::test(flavor = "multi_thread")]
async fn a_value_is_found_nowhere_but_in_the_data_of_its_secret() {
    let bed = Bed::new("nowhere").await;
    let canary = bed.canary().to_owned();
    let item = |title: &str| ItemSpec::new(title).field("password", &format!("{canary}-{title}"));
    bed.connect
        .add_item("services", item("huge").field("notes", &format!("{canary} ").repeat(110_000)))
        .unwrap();
    for title in ["status", "html", "wrong", "twin", "twin", "hang"] {
        bed.connect.add_item("services", item(title)).unwrap();
    }
    bed.connect
        .add_item("services", ItemSpec::new("doubled").field("x", &canary).field("x", &canary))
        .unwrap();
    let rule = json!({"name": "no-api", "when": "refs.exists(r, r.item == 'orders-api')", "effect": "Deny", "message": "no"});
    bed.policy("strict", json!({"rules": [rule]})).await;
    let vault = bed.connect.vault_id("services").unwrap();
    let mut program = Program::start(&bed).await;
    assert!(program.get("/healthz").await.unwrap().starts_with("HTTP/1.1 200"));

    for (title, kind) in [
        ("status", FaultKind::Status { code: 500, message: format!("{canary} in an error") }),
        ("html", FaultKind::Html { code: 200 }),
        ("wrong", FaultKind::WrongItem),
        ("hang", FaultKind::Status { code: 403, message: format!("{canary} in a refusal") }),
    ] {
        let id = bed.item_id(title);
        bed.connect.fault(FaultSpec::new(kind).under(&format!("/v1/vaults/{vault}/items/{id}")));
    }
    let failing = [
        ("field", "op://services/orders-db/no-such-field", Reason::FieldNotFound),
        ("item", "op://services/no-such-item/password", Reason::ItemNotFound),
        ("status", "op://services/status/password", Reason::ConnectUnavailable),
        ("html", "op://services/html/password", Reason::ConnectUnavailable),
        ("wrong", "op://services/wrong/password", Reason::InvalidResponse),
        ("refused", "op://services/hang/password", Reason::AccessDenied),
        ("doubled", "op://services/doubled/x", Reason::AmbiguousField),
        ("twin", "op://services/twin/password", Reason::AmbiguousItem),
        ("denied", "op://services/orders-api/password", Reason::Denied),
        ("outside", "op://infra/root/password", Reason::VaultNotAllowed),
        ("huge", "op://services/huge/notes", Reason::SecretTooLarge),
    ];
    bed.create_secret("foreign", &[("password", "theirs")]).await;
    bed.request("foreign", |_| {}).await;
    for (name, reference, _) in failing {
        bed.request_data(name, &[("password", reference)]).await;
    }
    bed.request("orders", |_| {}).await;
    bed.wait_ready("orders").await;
    bed.wait_reason("foreign", Reason::SecretNotOwned).await;
    for (name, _, reason) in failing {
        bed.wait_reason(name, reason).await;
    }
    let rotated = format!("{canary}-rotated");
    bed.connect.set_field("services", "orders-db", "password", &rotated).unwrap();
    bed.wait_value("orders", "password", &rotated).await;
    bed.patch_secret("orders", json!({"stringData": {"password": format!("{canary}-by-hand")}}))
        .await;
    bed.wait_value("orders", "password", &rotated).await;
    let name = bed
        .policy(
            "strict",
            json!({"rules": [{"name": "r", "when": "((", "score": 1, "message": "m"}]}),
        )
        .await;
    bed.wait_policy(&name, "False").await;
    bed.wait_reason("orders", Reason::PolicyInvalid).await;
    bed.connect.revoke_token(&bed.token);
    bed.wait_server_reason("TokenValid", Reason::TokenRejected).await;

    assert!(bed.connect.requests().route(ITEM) > 5);
    wait::until("the Event of a request", wait::WAIT, async || {
        let events = bed.events("orders").await.len();
        if events > 1 { Ok(()) } else { Err(format!("{events}")) }
    })
    .await;
    let mut needles = vec![canary.clone()];
    needles.extend(base64_forms(&canary));
    let mut places = readable(&bed, &program).await;
    places.extend(audited(&bed, &program).await);
    let names: Vec<&str> = failing.iter().map(|(name, ..)| *name).chain(["orders"]).collect();
    places.extend(explained(&bed, &names).await);
    for (place, text) in &places {
        for needle in &needles {
            if let Some(at) = text.find(needle.as_str()) {
                let around: String = text[..at]
                    .chars()
                    .rev()
                    .take(200)
                    .collect::<Vec<_>>()
                    .into_iter()
                    .rev()
                    .collect();
                panic!("a value is found in {place}, after: {around}");
            }
        }
    }
    // The search finds what is there.
    assert!(
        program.stderr.text().contains("portcullis starts")
            && program.stderr.text().contains("DEBUG")
    );
    let first: Value = serde_json::from_str(program.stdout.text().lines().next().unwrap()).unwrap();
    assert_eq!((&first["kind"], &first["sequence"]), (&json!("decision"), &json!(1)));
    for text in [&places[0].1, &places[2].1] {
        assert!(text.contains("SecretTooLarge") || text.contains("VaultNotAllowed"), "{text}");
    }
    let secret = bed.secret("orders").await.unwrap();
    let encoded = json!(secret).to_string();
    assert!(
        needles[1..].iter().any(|needle| encoded.contains(needle.as_str())),
        "the forms of base64 are wrong"
    );

    let (took, status) = program.terminate().await;
    assert!(status.success(), "{status}; {}", program.stderr.text());
    assert!(took < Duration::from_secs(5), "{took:?}");
    assert!(program.stderr.text().contains("portcullis stops"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_program_told_to_stop_ends_in_seconds_also_while_connect_hangs() {
    let bed = Bed::new("stop").await;
    let mut program = Program::start(&bed).await;
    bed.request("before", |_| {}).await;
    bed.wait_ready("before").await;
    bed.connect.fault(FaultSpec::new(FaultKind::Hang).on(ITEM));
    bed.request_data("hanging", &[("k", "op://services/orders-api/password")]).await;
    wait::until("a call to hang", wait::WAIT, async || {
        let calls = bed.connect.requests().route(ITEM);
        if calls >= 2 { Ok(()) } else { Err(format!("{calls} calls")) }
    })
    .await;
    let (took, status) = program.terminate().await;
    assert!(status.success(), "{status}");
    assert!(took < Duration::from_secs(20), "{took:?}");
    assert!(bed.secret("hanging").await.is_none());
}
