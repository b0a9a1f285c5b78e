//! Every rule of the CRDs' schemas accepts and refuses what it should, by a real API server, and a refusal names
//! the field and the right form. Objects are sent as `kubectl apply` and `kubectl create` do: strictly.

mod access;
mod columns;
mod connection;
mod policies;
mod profiles;
mod references;
mod requests;
mod servers;
mod status;

use portcullis_test_support::kube::core::Request;
use portcullis_test_support::kube::{self, Client};
use portcullis_test_support::{Access, Cluster, manifests};
use serde_json::{Value, json};

/// A change to a valid object, and what its refusal must say; nothing means that it is accepted.
struct Case(&'static str, fn(&mut Value), &'static [&'static str]);

const ACCEPTED: &[&str] = &[];

/// Tries each case on the valid object, without a trace in the cluster.
async fn check(base: &Value, cases: &[Case]) {
    let client = Cluster::shared().await.admin();
    let mut faults = Vec::new();
    for Case(what, change, expected) in cases {
        let mut object = base.clone();
        change(&mut object);
        assert!(what.starts_with("the valid") || object != *base, "{what}: changes nothing");
        judge(what, try_create(&client, &object).await, expected, &mut faults);
    }
    assert!(faults.is_empty(), "\n{}", faults.join("\n"));
}

/// Creates an object and then changes it, for the rules about changes.
async fn check_changes(base: &Value, cases: &[Case]) {
    let client = Cluster::shared().await.admin();
    let mut faults = Vec::new();
    for (number, Case(what, change, expected)) in cases.iter().enumerate() {
        let mut object = base.clone();
        let name = format!("{}-{number}", object["metadata"]["name"].as_str().unwrap());
        object["metadata"]["name"] = json!(name);
        manifests::apply(&client, &object).await.unwrap();
        change(&mut object);
        let changed = manifests::apply(&client, &object).await;
        let outcome = changed.map(|_| ()).map_err(|error| format!("{error:#}"));
        judge(what, outcome, expected, &mut faults);
    }
    assert!(faults.is_empty(), "\n{}", faults.join("\n"));
}

fn judge(what: &str, outcome: Result<(), String>, expected: &[&str], faults: &mut Vec<String>) {
    match outcome {
        Ok(()) if expected.is_empty() => {}
        Ok(()) => faults.push(format!("{what}: accepted")),
        Err(error) if expected.is_empty() => faults.push(format!("{what}: refused: {error}")),
        Err(error) => {
            for text in expected.iter().filter(|text| !error.contains(**text)) {
                faults.push(format!("{what}: the refusal lacks `{text}`: {error}"));
            }
        }
    }
}

async fn try_create(client: &Client, object: &Value) -> Result<(), String> {
    let api = manifests::api(client, object).unwrap();
    let body = serde_json::to_vec(object).unwrap();
    let mut request =
        Request::new(api.resource_url()).create(&kube::api::PostParams::default(), body).unwrap();
    let strict = format!("{}?dryRun=All&fieldValidation=Strict", request.uri().path());
    *request.uri_mut() = strict.parse().unwrap();
    match client.request_text(request).await {
        Ok(_) => Ok(()),
        Err(kube::Error::Api(status)) => Err(status.message),
        Err(error) => panic!("{error}"),
    }
}

/// Removes the field at a JSON pointer.
fn remove(object: &mut Value, pointer: &str) {
    let (parent, field) = pointer.rsplit_once('/').unwrap();
    object.pointer_mut(parent).unwrap().as_object_mut().unwrap().remove(field).unwrap();
}

/// What kubectl says to somebody who applies this.
async fn kubectl_refuses(access: &Access, object: &Value) -> String {
    access.run_kubectl("default", &["apply", "-f", "-"], &object.to_string()).await.err()
}
