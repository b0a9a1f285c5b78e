//! What a connection is made of changes while the operator runs: the token, the authority.

use portcullis::api::Reason;
use portcullis_test_support::kube::ResourceExt as _;
use portcullis_test_support::{Bed, condition};
use serde_json::json;

#[tokio::test(flavor = "multi_thread")]
async fn a_new_token_is_picked_up() {
    let bed = Bed::new("new-token").await;
    let operator = bed.operator().await;
    bed.request("orders", |_| {}).await;
    bed.wait_ready("orders").await;
    let version = bed.secret("orders").await.unwrap().resource_version();
    let token = format!("{}-2", bed.token);
    bed.connect.add_token(&token, &["*"]);
    bed.apply_token(&token).await;
    bed.connect.revoke_token(&bed.token);
    bed.connect.set_field("services", "orders-db", "password", "rotated").unwrap();
    let secret = bed.wait_value("orders", "password", "rotated").await;
    assert_ne!(secret.resource_version(), version);
    bed.wait_ready("orders").await;
    bed.wait_server_reason("TokenValid", Reason::Connected).await;
    operator.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_changed_authority_is_noticed() {
    let bed = Bed::new("new-ca").await;
    let operator = bed.operator().await;
    bed.request("orders", |_| {}).await;
    bed.wait_ready("orders").await;
    let secret = bed.secret("orders").await;
    bed.patch_server(json!({"spec": {"ca": {"configMapRef": {"name": "ca", "key": "ca.crt"}}}}))
        .await;
    let missing = bed.wait_reason("orders", Reason::CaInvalid).await;
    assert!(condition(&missing, "Reconciling").is_some());
    assert!(
        condition(&missing, "Ready").unwrap().message.contains("no key ca.crt in ConfigMap ca")
    );
    let map = |text: &str| {
        json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "ca", "namespace": bed.operator_namespace},
               "data": {"ca.crt": text}})
    };
    bed.apply(map("not a certificate")).await;
    bed.wait_request("orders", "to say what is wrong", |r| {
        condition(r, "Ready")
            .is_some_and(|c| c.reason == "CaInvalid" && c.message.contains("certificates"))
    })
    .await;
    bed.apply(map(CERTIFICATE)).await;
    bed.wait_ready("orders").await;
    bed.apply(map("")).await;
    bed.wait_reason("orders", Reason::CaInvalid).await;
    assert_eq!(bed.secret("orders").await, secret);
    operator.stop().await;
}

/// A certificate of nobody, which is one all the same.
const CERTIFICATE: &str = "\
-----BEGIN CERTIFICATE-----\n\
MIIBjTCCATOgAwIBAgIUTtksHprZceVYQ4GCJbFcJa413ZEwCgYIKoZIzj0EAwIw\n\
GzEZMBcGA1UEAwwQcG9ydGN1bGxpcyB0ZXN0czAgFw0yNjExMjMwMjUwMDJaGA8y\n\
MTI2MTAzMDAyNTAwMlowGzEZMBcGA1UEAwwQcG9ydGN1bGxpcyB0ZXN0czBZMBMG\n\
ByqGSM49AgEGCCqGSM49AwEHA0IABEjSUaDK9TUm6TZpViGw5pU485qY0hRTWNsA\n\
RHdfUALlByOYyPc0v6ThBwtASIVcgoC1/X64XP4TuKToe1reoS+jUzBRMB0GA1Ud\n\
DgQWBBRxVroB+vgzXQYOPN4aBMliGb+ipDAfBgNVHSMEGDAWgBRxVroB+vgzXQYO\n\
PN4aBMliGb+ipDAPBgNVHRMBAf8EBTADAQH/MAoGCCqGSM49BAMCA0gAMEUCICsP\n\
q8jJqearS/C/JT3RtpAs9kkeUbFixGz9xUmjSwRgAiEAs4sKUKNg9717NIhC10tZ\n\
KI+6lqshJBjnp/YVzUkyJRg=\n\
-----END CERTIFICATE-----\n\
";
