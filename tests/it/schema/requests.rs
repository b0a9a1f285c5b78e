//! CredentialRequest.

use serde_json::{Value, json};

use super::{ACCEPTED, Case, check, check_changes, remove};

pub(super) fn request() -> Value {
    json!({
        "apiVersion": "portcullis.dev/v1alpha1",
        "kind": "CredentialRequest",
        "metadata": {"name": "orders-db", "namespace": "default"},
        "spec": {
            "purpose": "orders service reads its database",
            "data": [{"key": "password", "ref": "op://services/orders-db/password"}],
        },
    })
}

pub(super) const KEY_FORM: &str = "key must consist of letters, digits, '-', '_' and '.'";

#[tokio::test]
async fn fields() {
    check(
        &request(),
        &[
            Case("the valid request", |_| {}, ACCEPTED),
            Case(
                "everything set",
                |o| {
                    o["spec"]["serverRef"] = json!({"name": "default"});
                    o["spec"]["environment"] = json!("production");
                    o["spec"]["consumer"] = json!({"serviceAccountName": "orders"});
                    o["spec"]["target"] = json!({"name": "orders.db-1", "type": "Opaque", "creationPolicy": "Create",
                        "onRequestDeletion": "Retain"});
                    o["spec"]["refresh"] = json!({"policy": "Follow"});
                    o["spec"]["suspend"] = json!(true);
                },
                ACCEPTED,
            ),
            Case("optional fields null", |o| {
                for field in ["serverRef", "environment", "consumer", "target", "refresh", "suspend"] {
                    o["spec"][field] = Value::Null;
                }
            }, ACCEPTED),
            Case("no spec", |o| remove(o, "/spec"), &["spec: Required value"]),
            Case("an unknown field", |o| o["spec"]["datas"] = json!([]), &["unknown field \"spec.datas\""]),
            Case(
                "an unknown field in an entry",
                |o| o["spec"]["data"][0]["refs"] = json!("x"),
                &["unknown field \"spec.data[0].refs\""],
            ),
            Case("no purpose", |o| remove(o, "/spec/purpose"), &["spec.purpose: Required value"]),
            Case("an empty purpose", |o| o["spec"]["purpose"] = json!(""), &["spec.purpose", "why the credentials are needed"]),
            Case("a blank purpose", |o| o["spec"]["purpose"] = json!("  "), &["spec.purpose", "why the credentials are needed"]),
            Case(
                "an environment of two words",
                |o| o["spec"]["environment"] = json!("prod uction"),
                &["spec.environment", "a word as labels have it"],
            ),
            Case("the longest purpose", |o| o["spec"]["purpose"] = json!("é".repeat(256)), ACCEPTED),
            Case(
                "too long a purpose",
                |o| o["spec"]["purpose"] = json!("p".repeat(257)),
                &["spec.purpose: Too long: may not be more than 256"],
            ),
            Case("an empty environment", |o| o["spec"]["environment"] = json!(""), &["spec.environment"]),
            Case("too long an environment", |o| o["spec"]["environment"] = json!("e".repeat(64)), &["spec.environment"]),
            Case("a server without name", |o| o["spec"]["serverRef"] = json!({}), &["spec.serverRef.name: Required value"]),
            Case("an empty server", |o| o["spec"]["serverRef"] = json!({"name": ""}), &["spec.serverRef.name"]),
            Case(
                "too long a server",
                |o| o["spec"]["serverRef"] = json!({"name": "s".repeat(254)}),
                &["spec.serverRef.name: Too long"],
            ),
            Case("a consumer without name", |o| o["spec"]["consumer"] = json!({}), &["spec.consumer.serviceAccountName: Required value"]),
            Case(
                "an empty consumer",
                |o| o["spec"]["consumer"] = json!({"serviceAccountName": ""}),
                &["spec.consumer.serviceAccountName"],
            ),
            Case("a refresh policy of later", |o| o["spec"]["refresh"] = json!({"policy": "Sometimes"}), &["spec.refresh.policy: Unsupported value: \"Sometimes\"", "\"Follow\""]),
            Case("suspend as text", |o| o["spec"]["suspend"] = json!("yes"), &["spec.suspend", "must be of type boolean"]),
        ],
    )
    .await;
}

#[tokio::test]
async fn data() {
    check(
        &request(),
        &[
            Case("no data", |o| remove(o, "/spec/data"), &["spec.data: Required value"]),
            Case("empty data", |o| o["spec"]["data"] = json!([]), &["spec.data", "at least 1 items"]),
            Case("the most and longest data", |o| o["spec"]["data"] = entries(256), ACCEPTED),
            Case("too much data", |o| o["spec"]["data"] = entries(257), &["spec.data: Too many: 257: must have at most 256"]),
            Case(
                "a key twice",
                |o| o["spec"]["data"] = json!([o["spec"]["data"][0], o["spec"]["data"][0]]),
                &["spec.data[1]: Duplicate value: {\"key\":\"password\"}"],
            ),
            Case("an entry without key", |o| remove(o, "/spec/data/0/key"), &["spec.data[0].key: Required value"]),
            Case("an empty key", |o| o["spec"]["data"][0]["key"] = json!(""), &["spec.data[0].key"]),
            Case("too long a key", |o| o["spec"]["data"][0]["key"] = json!("k".repeat(254)), &["spec.data[0].key: Too long"]),
            Case("a key of all that is allowed", |o| o["spec"]["data"][0]["key"] = json!("._-aZ09"), ACCEPTED),
            Case("a hidden file as key", |o| o["spec"]["data"][0]["key"] = json!(".env"), ACCEPTED),
            Case("a key with a space", |o| o["spec"]["data"][0]["key"] = json!("data base"), &["spec.data[0].key", KEY_FORM]),
            Case("a key with a slash", |o| o["spec"]["data"][0]["key"] = json!("a/b"), &["spec.data[0].key", KEY_FORM]),
            Case("a key with a line end", |o| o["spec"]["data"][0]["key"] = json!("a\n"), &["spec.data[0].key", KEY_FORM]),
            Case("a key that is a folder", |o| o["spec"]["data"][0]["key"] = json!("."), &["spec.data[0].key", KEY_FORM]),
            Case("a key of the folder above", |o| o["spec"]["data"][0]["key"] = json!(".."), &["spec.data[0].key", KEY_FORM]),
            Case("a key that starts with two dots", |o| o["spec"]["data"][0]["key"] = json!("..data"), &["spec.data[0].key", KEY_FORM]),
            Case("neither ref nor from", |o| remove(o, "/spec/data/0/ref"), &["spec.data[0]", "exactly one of ref (op://<vault>/<item>/[<section>/]<field>) and from"]),
            Case("both ref and from", |o| o["spec"]["data"][0]["from"] = from(), &["spec.data[0]", "exactly one of ref"]),
            Case("from", |o| o["spec"]["data"][0] = json!({"key": "k", "from": from()}), ACCEPTED),
            Case("from and a null ref", |o| o["spec"]["data"][0] = json!({"key": "k", "ref": null, "from": from()}), ACCEPTED),
            Case("a null ref", |o| o["spec"]["data"][0]["ref"] = Value::Null, &["spec.data[0]", "exactly one of ref"]),
            Case(
                "from with any title",
                |o| {
                    o["spec"]["data"][0] = json!({"key": "k", "from": {"vault": "Команда", "item": "orders/db (new) ", "section": "ü",
                        "field": "p:w"}});
                },
                ACCEPTED,
            ),
            Case("from without vault", |o| change_from(o, |f| remove(f, "/vault")), &["spec.data[0].from.vault: Required value"]),
            Case("from without item", |o| change_from(o, |f| remove(f, "/item")), &["spec.data[0].from.item: Required value"]),
            Case("from without field", |o| change_from(o, |f| remove(f, "/field")), &["spec.data[0].from.field: Required value"]),
            Case("from with an empty vault", |o| change_from(o, |f| f["vault"] = json!("")), &["spec.data[0].from.vault"]),
            Case("from with an empty item", |o| change_from(o, |f| f["item"] = json!("")), &["spec.data[0].from.item"]),
            Case("from with an empty section", |o| change_from(o, |f| f["section"] = json!("")), &["spec.data[0].from.section"]),
            Case("from with an empty field", |o| change_from(o, |f| f["field"] = json!("")), &["spec.data[0].from.field"]),
            Case("from with too long an item", |o| change_from(o, |f| f["item"] = json!("i".repeat(257))), &["spec.data[0].from.item: Too long"]),
            Case("from with an attribute", |o| change_from(o, |f| f["attribute"] = json!("purpose")), ACCEPTED),
            Case("from with an OpenSSH key", |o| change_from(o, |f| f["sshFormat"] = json!("openssh")), ACCEPTED),
            Case(
                "from with an OpenSSH key that is the value",
                |o| change_from(o, |f| {
                    f["attribute"] = json!("value");
                    f["sshFormat"] = json!("openssh");
                }),
                ACCEPTED,
            ),
            Case(
                "from with the type of an OpenSSH key",
                |o| change_from(o, |f| {
                    f["attribute"] = json!("type");
                    f["sshFormat"] = json!("openssh");
                }),
                &["spec.data[0].from", "sshFormat is a form of the value: leave attribute out"],
            ),
            Case(
                "from with an attribute that nothing has",
                |o| change_from(o, |f| f["attribute"] = json!("colour")),
                &["spec.data[0].from.attribute: Unsupported value: \"colour\"", "\"purpose\""],
            ),
            Case(
                "from with a format that there is not",
                |o| change_from(o, |f| f["sshFormat"] = json!("pem")),
                &["spec.data[0].from.sshFormat: Unsupported value: \"pem\"", "\"openssh\""],
            ),
            Case("from with an unknown field", |o| change_from(o, |f| f["title"] = json!("x")), &["unknown field \"spec.data[0].from.title\""]),
        ],
    )
    .await;
}

fn from() -> Value {
    json!({"vault": "services", "item": "orders/db (new)", "field": "password"})
}

fn change_from(object: &mut Value, change: fn(&mut Value)) {
    let mut from = from();
    change(&mut from);
    object["spec"]["data"][0] = json!({"key": "k", "from": from});
}

/// So many entries, each as long as it can be.
fn entries(count: usize) -> Value {
    let entry = |number| json!({"key": format!("{number:0253}"), "ref": format!("op://v/{}/f", "i ".repeat(506) + "end")});
    (0..count).map(entry).collect()
}

#[tokio::test]
async fn target() {
    const NAME_FORM: &str =
        "target.name must be a Secret's name: lower-case letters, digits, '-' and '.'";
    check(
        &request(),
        &[
            Case("an empty target", |o| o["spec"]["target"] = json!({}), ACCEPTED),
            Case(
                "an empty name",
                |o| o["spec"]["target"] = json!({"name": ""}),
                &["spec.target.name"],
            ),
            Case("a name of dots", |o| o["spec"]["target"] = json!({"name": "a.b-c.9"}), ACCEPTED),
            Case(
                "the longest name",
                |o| o["spec"]["target"] = json!({"name": "n".repeat(253)}),
                ACCEPTED,
            ),
            Case(
                "too long a name",
                |o| o["spec"]["target"] = json!({"name": "n".repeat(254)}),
                &["spec.target.name: Too long"],
            ),
            Case(
                "capitals",
                |o| o["spec"]["target"] = json!({"name": "Orders"}),
                &["spec.target.name", NAME_FORM],
            ),
            Case(
                "an underscore",
                |o| o["spec"]["target"] = json!({"name": "orders_db"}),
                &["spec.target.name", NAME_FORM],
            ),
            Case(
                "a dash at the end",
                |o| o["spec"]["target"] = json!({"name": "orders-"}),
                &["spec.target.name", NAME_FORM],
            ),
            Case(
                "a dot at the start",
                |o| o["spec"]["target"] = json!({"name": ".orders"}),
                &["spec.target.name", NAME_FORM],
            ),
            Case(
                "two dots",
                |o| o["spec"]["target"] = json!({"name": "a..b"}),
                &["spec.target.name", NAME_FORM],
            ),
            Case(
                "a dash before a dot",
                |o| o["spec"]["target"] = json!({"name": "a-.b"}),
                &["spec.target.name", NAME_FORM],
            ),
            Case(
                "a token's type",
                |o| o["spec"]["target"] = json!({"type": "kubernetes.io/service-account-token"}),
                &["spec.target.type: Unsupported value", "\"Opaque\""],
            ),
            Case(
                "another creation policy",
                |o| o["spec"]["target"] = json!({"creationPolicy": "Orphan"}),
                &["spec.target.creationPolicy: Unsupported value", "\"Create\""],
            ),
            Case(
                "another deletion",
                |o| o["spec"]["target"] = json!({"onRequestDeletion": "Keep"}),
                &["spec.target.onRequestDeletion: Unsupported value", "\"Delete\", \"Retain\""],
            ),
            Case(
                "an unknown field",
                |o| o["spec"]["target"] = json!({"namespace": "x"}),
                &["unknown field \"spec.target.namespace\""],
            ),
        ],
    )
    .await;

    const IMMUTABLE: &[&str] = &["spec.target.name cannot change: create another request"];
    let mut base = request();
    base["metadata"]["name"] = json!("immutable");
    check_changes(
        &base,
        &[
            Case(
                "naming the Secret later",
                |o| o["spec"]["target"] = json!({"name": "other"}),
                IMMUTABLE,
            ),
            Case(
                "the name that it has anyway",
                |o| {
                    let name = o["metadata"]["name"].clone();
                    o["spec"]["target"] = json!({"name": name});
                },
                ACCEPTED,
            ),
            Case(
                "a target without a name",
                |o| o["spec"]["target"] = json!({"onRequestDeletion": "Retain"}),
                ACCEPTED,
            ),
            Case(
                "everything else",
                |o| {
                    o["spec"]["purpose"] = json!("another");
                    o["spec"]["serverRef"] = json!({"name": "other"});
                    o["spec"]["data"][0]["ref"] = json!("op://services/orders-db/username");
                    o["spec"]["suspend"] = json!(true);
                },
                ACCEPTED,
            ),
            Case(
                "a name that is not one",
                |o| o["spec"]["target"] = json!({"name": "A"}),
                IMMUTABLE,
            ),
        ],
    )
    .await;
    base["metadata"]["name"] = json!("named");
    base["spec"]["target"] = json!({"name": "orders", "onRequestDeletion": "Delete"});
    check_changes(
        &base,
        &[
            Case("another Secret", |o| o["spec"]["target"]["name"] = json!("other"), IMMUTABLE),
            Case("no target any more", |o| remove(o, "/spec/target"), IMMUTABLE),
            Case("no name any more", |o| remove(o, "/spec/target/name"), IMMUTABLE),
            Case(
                "what happens to the Secret",
                |o| o["spec"]["target"]["onRequestDeletion"] = json!("Retain"),
                ACCEPTED,
            ),
        ],
    )
    .await;
}
