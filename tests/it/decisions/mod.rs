//! What decisions come to on a real API server: grants and refreshes, what passes and what lasts, policies on trial.

mod behavior;
mod deferred;
mod deleted;
mod held;
mod told;
mod trial;

use portcullis::api::CredentialRequest;
use portcullis_test_support::{Bed, condition};
use serde_json::{Value, json};

const ITEM: &str = "GET /v1/vaults/{v}/items/{i}";
/// A rule of transient facts that matches whatever the time.
const ALWAYS_FOR_NOW: &str = "now > timestamp('2000-01-01T00:00:00Z')";

fn rule(when: &str, effect: &str) -> Value {
    json!({"name": "at-work", "when": when, "effect": effect, "message": "the rule is at work"})
}

/// The conditions of a request as `type=status reason`.
fn says(request: &CredentialRequest) -> Vec<String> {
    ["Ready", "Reconciling", "Stalled", "Authorized", "Synced"]
        .into_iter()
        .filter_map(|type_| condition(request, type_))
        .map(|c| format!("{}={} {}", c.type_, c.status, c.reason))
        .collect()
}

/// Waits until a request says just this.
async fn wait_says(bed: &Bed, name: &str, expected: &[&str]) -> CredentialRequest {
    bed.wait_request(name, &format!("to say {expected:?}"), |r| says(r) == expected).await
}

const SYNCED: [&str; 3] = ["Ready=True Synced", "Authorized=True Allowed", "Synced=True Synced"];
