//! The spelling of references, and what a person reads who gets one wrong.

use portcullis::reference::Reference;
use portcullis_test_support::Cluster;
use serde_json::json;

use super::requests::{KEY_FORM, request};
use super::{kubectl_refuses, remove, try_create};

const FORM: &str = "ref must be op://<vault>/<item>/[<section>/]<field>";

/// What the API server lets through is what the operator can read, and nothing else.
#[tokio::test]
async fn references_are_those_of_the_grammar() {
    let client = Cluster::shared().await.admin();
    let (mut valid, mut invalid) = (0, 0);
    let long = |length| format!("op://v/i/{}", "f".repeat(length - "op://v/i/".len()));
    for text in [
        "op://v/i/f",
        "op://v/i/s/f",
        "op://My Vault/an item/a field",
        "op://v.1/i_2/f-3",
        "op://./../f",
        "op://v/i/s  t/f",
        "op://op:/i/f",
        "OP://v/i/f",
        "op:/v/i/f",
        "op:///i/f",
        "v/i/f",
        "",
        "op://",
        "op://v",
        "op://v/i",
        "op://v/i/s/f/g",
        "op://v/i/",
        "op://v//f",
        "op://v/i/f/",
        "op:// v/i/f",
        "op://v /i/f",
        "op://v/ i/f",
        "op://v/i/f ",
        " op://v/i/f",
        "op://v/i/f\n",
        "op://v/i\t/f",
        "op://v/i/f?attribute=otp",
        "op://v/i/f#x",
        "op://v/é/f",
        "op://v/i(1)/f",
        "op://v/i%20j/f",
        "https://v/i/f",
        "op://v/i/f\u{0}",
        "op://v\\i/j/f",
    ]
    .into_iter()
    .map(str::to_owned)
    .chain([long(1024), long(1025)])
    {
        let mut object = request();
        object["spec"]["data"][0]["ref"] = json!(text);
        match (try_create(&client, &object).await, text.parse::<Reference>()) {
            (Ok(()), Ok(_)) => valid += 1,
            (Err(error), Err(_)) => {
                let said = error.contains("spec.data[0].ref")
                    && (error.contains(FORM) || text.is_empty() || text.len() > 1024);
                assert!(said, "{text:?}: {error}");
                invalid += 1;
            }
            (server, grammar) => {
                panic!("{text:?}: the API server says {server:?}, the grammar {grammar:?}")
            }
        }
    }
    assert!(valid >= 7 && invalid >= 20, "{valid} valid, {invalid} invalid");
}

/// The whole of what a person reads at `kubectl apply`.
#[tokio::test]
async fn kubectl_says_what_is_wrong_in_words() {
    let access = Cluster::shared().await;
    let mut object = request();
    object["spec"]["data"][0]["ref"] = json!("op://services/orders-db");
    let said = kubectl_refuses(access, &object).await;
    assert!(
        said.contains(
            "The CredentialRequest \"orders-db\" is invalid: spec.data[0].ref: Invalid value: "
        ),
        "{said}"
    );
    assert!(said.contains(FORM), "{said}");

    object = request();
    object["spec"]["data"][0]["key"] = json!("data base");
    let said = kubectl_refuses(access, &object).await;
    assert!(
        said.contains("is invalid: spec.data[0].key: Invalid value: ") && said.contains(KEY_FORM),
        "{said}"
    );

    object = request();
    object["spec"]["datas"] = json!([]);
    let said = kubectl_refuses(access, &object).await;
    assert!(said.contains("strict decoding error: unknown field \"spec.datas\""), "{said}");

    object = request();
    remove(&mut object, "/spec/purpose");
    let said = kubectl_refuses(access, &object).await;
    assert!(said.contains("is invalid: \n* spec.purpose: Required value\n"), "{said}");
}
