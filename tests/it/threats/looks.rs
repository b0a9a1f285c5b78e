//! Threat 15: a tenant who makes up names uses up its own looks into vaults, and nobody else's.

use std::num::NonZeroU32;
use std::time::{Duration, Instant};

use portcullis::api::{CredentialRequest, Reason};
use portcullis::settings::Settings;
use portcullis_test_support::connect_dev::ItemSpec;
use portcullis_test_support::{Bed, condition, wait};
use serde_json::json;

use crate::isolation::operator_in_with;

const VAULTS: usize = 5;
/// Looks that a namespace has at once.
const LOOKS: u32 = 3;
/// Until it has another one, and until a list is old enough for another look. The test is over before.
const INTERVAL: Duration = Duration::from_secs(12);

fn vault(n: usize) -> String {
    format!("vault-{n}")
}

/// How often each vault was listed.
fn lists(bed: &Bed) -> Vec<usize> {
    let log = bed.connect.requests().log;
    let of = |n| format!("/v1/vaults/{}/items", bed.connect.vault_id(&vault(n)).unwrap());
    (0..VAULTS).map(|n| log.iter().filter(|r| r.target == of(n)).count()).collect()
}

/// Requests an item of a vault in a namespace.
async fn ask(bed: &Bed, namespace: &str, name: &str, vault: &str, item: &str) {
    let data = json!([{"key": "k", "ref": format!("op://{vault}/{item}/password")}]);
    let metadata = json!({"name": name, "namespace": namespace});
    let spec = json!({"purpose": "a test", "data": data});
    bed.apply_request(json!({"metadata": metadata, "spec": spec})).await.unwrap();
}

async fn wait_not_found(bed: &Bed, namespace: &str, name: &str) {
    let api = portcullis_test_support::kube::Api::<CredentialRequest>::namespaced(
        bed.client.clone(),
        namespace,
    );
    wait::until(&format!("{name} to find nothing"), wait::WAIT, async || {
        let request = api.get(name).await.map_err(|e| e.to_string())?;
        let ready = condition(&request, "Ready").map(|c| c.reason.clone());
        let is_told = ready.as_deref() == Some(Reason::ItemNotFound.as_str());
        if is_told { Ok(()) } else { Err(format!("{ready:?}")) }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn names_made_up_in_one_namespace_leave_another_ones_looks_alone() {
    let bed = Bed::new("looks-two").await;
    let loud = bed.tenant("loud", &[]).await;
    for n in 0..VAULTS {
        let known = ItemSpec::new("known").field("password", &format!("{}-known", bed.canary()));
        bed.connect.add_vault(&vault(n)).unwrap();
        bed.connect.add_item(&vault(n), known).unwrap();
    }
    let names = json!({"names": [bed.namespace, loud]});
    let row = json!({"name": "both", "namespaces": names, "vaults": [{"name": "vault-*"}]});
    bed.set_access(json!([row])).await;
    // Nothing but looks finds what is new.
    bed.patch_server(json!({"spec": {"pollInterval": "1h"}})).await;
    let look_burst = NonZeroU32::new(LOOKS).unwrap();
    let settings = Settings { look_interval: INTERVAL, look_burst, ..Settings::for_tests() };
    let operator = operator_in_with(&bed, &[&bed.namespace, &loud], settings).await;
    for n in 0..VAULTS {
        ask(&bed, &bed.namespace, &format!("known-{n}"), &vault(n), "known").await;
        bed.wait_ready(&format!("known-{n}")).await;
    }
    let listed = Instant::now();
    wait::until("the lists to be old", wait::WAIT, async || {
        let age = listed.elapsed();
        if age >= INTERVAL { Ok(()) } else { Err(format!("{age:?}")) }
    })
    .await;
    bed.connect.reset_requests();
    for n in 0..VAULTS {
        let name = format!("made-up-{n}");
        ask(&bed, &loud, &name, &vault(n), &name).await;
        wait_not_found(&bed, &loud, &name).await;
    }
    assert_eq!(lists(&bed), [1, 1, 1, 0, 0], "one look for each that it has");
    // What was made just now is found by a look of the other namespace's own, in the same vaults.
    for n in 3..VAULTS {
        let value = format!("{}-new-{n}", bed.canary());
        let new = ItemSpec::new("new").field("password", &value);
        bed.connect.add_item(&vault(n), new).unwrap();
        ask(&bed, &bed.namespace, &format!("new-{n}"), &vault(n), "new").await;
        bed.wait_value(&format!("new-{n}"), "k", &value).await;
    }
    assert_eq!(lists(&bed), [1, 1, 1, 1, 1]);
    operator.shutdown().await;
}
