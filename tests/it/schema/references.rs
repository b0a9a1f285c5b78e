//! The spelling of references, and what a person reads who gets one wrong.

use portcullis::reference::{ParseError, Reference};
use portcullis_test_support::Cluster;
use serde_json::json;

use super::requests::{KEY_FORM, request};
use super::{kubectl_refuses, remove, try_create};

const FORM: &str = "ref must be op://<vault>/<item>/[<section>/]<field>";
const QUERY_FORM: &str = "after the '?' of ref stands attribute=";

/// What the API server lets through is what the operator can read, and nothing else; but a one-time password
/// is refused by the operator, which says why.
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
        "op://v/i/f?attribute=value",
        "op://v/i/f?attr=type",
        "op://v/i/s/f?attribute=id",
        "op://v/i/f?attr=purpose",
        "op://v/i/f?attribute=label",
        "op://v/i/f?attribute=title",
        "op://v/i/f?attribute=content",
        "op://v/i/f?attribute=size",
        "op://v/i/f?attribute=name",
        "op://v/i/f?attribute=otp",
        "op://v/i/f?attr=totp",
        "op://v/i/f?ssh-format=openssh",
        "op://v/i/f?ssh-format=openssh&attribute=value",
        "op://v/i/f?attr=value&ssh-format=openssh",
        "op://v/i/f?attribute=otp&ssh-format=openssh",
        "op://v/i/f?ssh-format=openssh&attr=totp",
        "op://v/i/f?",
        "op://v/i?attribute=id",
        "op://v/i/f?attribute",
        "op://v/i/f?attribute=",
        "op://v/i/f?attribute=ID",
        "op://v/i/f?attribute=colour",
        "op://v/i/f?attribute=id\n",
        "op://v/i/f?Attribute=id",
        "op://v/i/f?colour=red",
        "op://v/i/f??attribute=id",
        "op://v/i/f?attribute=id?attribute=id",
        "op://v/i/f?attribute=id&",
        "op://v/i/f?attribute=id&attr=id",
        "op://v/i/f?attribute=id&ssh-format=openssh",
        "op://v/i/f?ssh-format=openssh&attribute=id",
        "op://v/i/f?ssh-format=openssh&ssh-format=openssh",
        "op://v/i/f?ssh-format=pem",
        "op://v/i/f?ssh-format=openssh#x",
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
            (Ok(()), Ok(_) | Err(ParseError::OneTimePassword)) => valid += 1,
            (Err(error), Err(_)) => {
                let form = error.contains(FORM) || error.contains(QUERY_FORM);
                let said = error.contains("spec.data[0].ref")
                    && (form || text.is_empty() || text.len() > 1024);
                assert!(said, "{text:?}: {error}");
                invalid += 1;
            }
            (server, grammar) => {
                panic!("{text:?}: the API server says {server:?}, the grammar {grammar:?}")
            }
        }
    }
    assert!(valid >= 23 && invalid >= 38, "{valid} valid, {invalid} invalid");
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
    object["spec"]["data"][0]["ref"] = json!("op://services/orders-db/url?attribute=colour");
    let said = kubectl_refuses(access, &object).await;
    assert!(said.contains(QUERY_FORM) && !said.contains(FORM), "{said}");

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
