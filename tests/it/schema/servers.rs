//! ConnectServer.

use serde_json::{Value, json};

use super::{ACCEPTED, Case, check, check_changes, remove};

fn server() -> Value {
    json!({
        "apiVersion": "portcullis.dev/v1alpha1",
        "kind": "ConnectServer",
        "metadata": {"name": "schema"},
        "spec": {
            "hosts": [{"url": "https://connect.internal:8443"}],
            "tokenSecretRef": {"name": "connect-token"},
            "access": [{"name": "shop", "namespaces": {"names": ["shop"]}, "vaults": [{"name": "services"}]}],
        },
    })
}

#[tokio::test]
async fn fields() {
    check(
        &server(),
        &[
            Case("the valid server", |_| {}, ACCEPTED),
            Case(
                "everything set",
                |o| {
                    o["spec"]["controllerClass"] = json!("blue");
                    o["spec"]["allowInsecure"] = json!(false);
                    o["spec"]["tokenSecretRef"]["key"] = json!("other");
                    o["spec"]["ca"] = json!({"inline": "-----BEGIN CERTIFICATE-----"});
                    o["spec"]["vaults"] =
                        json!([{"name": "services", "environment": "production"}]);
                    o["spec"]["pollInterval"] = json!("1m30s");
                    o["spec"]["limits"] = json!({"concurrency": 8});
                },
                ACCEPTED,
            ),
            Case("no spec", |o| remove(o, "/spec"), &["spec: Required value"]),
            Case(
                "an unknown field",
                |o| o["spec"]["host"] = json!("x"),
                &["unknown field \"spec.host\""],
            ),
            Case(
                "too long a class",
                |o| o["spec"]["controllerClass"] = json!("c".repeat(64)),
                &["spec.controllerClass: Too long"],
            ),
            Case(
                "no token",
                |o| remove(o, "/spec/tokenSecretRef"),
                &["spec.tokenSecretRef: Required value"],
            ),
            Case(
                "a token without name",
                |o| o["spec"]["tokenSecretRef"] = json!({}),
                &["spec.tokenSecretRef.name: Required value"],
            ),
            Case(
                "an empty token name",
                |o| o["spec"]["tokenSecretRef"]["name"] = json!(""),
                &["spec.tokenSecretRef.name"],
            ),
            Case(
                "an empty token key",
                |o| o["spec"]["tokenSecretRef"]["key"] = json!(""),
                &["spec.tokenSecretRef.key"],
            ),
            Case(
                "a token in place",
                |o| o["spec"]["tokenSecretRef"]["value"] = json!("x"),
                &["unknown field \"spec.tokenSecretRef.value\""],
            ),
            Case(
                "a vault twice",
                |o| o["spec"]["vaults"] = json!([{"name": "v"}, {"name": "v"}]),
                &["spec.vaults[1]: Duplicate value: {\"name\":\"v\"}"],
            ),
            Case(
                "a vault without name",
                |o| o["spec"]["vaults"] = json!([{"environment": "e"}]),
                &["spec.vaults[0].name: Required value"],
            ),
            Case(
                "a vault with an empty environment",
                |o| o["spec"]["vaults"] = json!([{"name": "v", "environment": ""}]),
                &["spec.vaults[0].environment"],
            ),
            Case(
                "too many vaults",
                |o| o["spec"]["vaults"] = vaults(201),
                &["spec.vaults: Too many"],
            ),
            Case(
                "the most vaults",
                |o| o["spec"]["vaults"] = vaults(200),
                ACCEPTED,
            ),
            Case(
                "no request at a time",
                |o| o["spec"]["limits"] = json!({"concurrency": 0}),
                &["spec.limits.concurrency", "greater than or equal to 1"],
            ),
            Case(
                "too many requests",
                |o| o["spec"]["limits"] = json!({"concurrency": 65}),
                &["spec.limits.concurrency", "less than or equal to 64"],
            ),
        ],
    )
    .await;
}

fn vaults(count: usize) -> Value {
    (0..count)
        .map(|n| json!({"name": format!("{n:0256}"), "environment": "e".repeat(63)}))
        .collect()
}

#[tokio::test]
async fn hosts() {
    const ORIGIN: &str = "url must be an origin such as https://connect.internal:8443, without a path, user or query";
    const INSECURE: &str =
        "hosts must use https://; http:// sends the token in clear and needs allowInsecure: true";
    check(
        &server(),
        &[
            Case(
                "none",
                |o| o["spec"]["hosts"] = json!([]),
                &["spec.hosts", "at least 1 items"],
            ),
            Case(
                "absent",
                |o| remove(o, "/spec/hosts"),
                &["spec.hosts: Required value"],
            ),
            Case(
                "two",
                |o| o["spec"]["hosts"] = json!([{"url": "https://a"}, {"url": "https://b"}]),
                &["spec.hosts: Too many: 2: must have at most 1"],
            ),
            Case(
                "without url",
                |o| o["spec"]["hosts"] = json!([{}]),
                &["spec.hosts[0].url: Required value"],
            ),
            Case("an empty url", |o| url(o, ""), &["spec.hosts[0].url"]),
            Case(
                "too long",
                |o| url(o, &format!("https://{}", "h".repeat(505))),
                &["spec.hosts[0].url: Too long"],
            ),
            Case(
                "a slash at the end",
                |o| url(o, "https://connect/"),
                ACCEPTED,
            ),
            Case("an address", |o| url(o, "https://10.0.0.1:8443"), ACCEPTED),
            Case(
                "an IPv6 address",
                |o| url(o, "https://[fd00::1]:8443"),
                ACCEPTED,
            ),
            Case(
                "a path",
                |o| url(o, "https://connect/v1"),
                &["spec.hosts[0].url", ORIGIN],
            ),
            Case(
                "a query",
                |o| url(o, "https://connect?x=y"),
                &["spec.hosts[0].url", ORIGIN],
            ),
            Case(
                "a fragment",
                |o| url(o, "https://connect#x"),
                &["spec.hosts[0].url", ORIGIN],
            ),
            Case(
                "a user",
                |o| url(o, "https://user:pass@connect"),
                &["spec.hosts[0].url", ORIGIN],
            ),
            Case(
                "no scheme",
                |o| url(o, "connect.internal"),
                &["spec.hosts[0].url", ORIGIN],
            ),
            Case(
                "another scheme",
                |o| url(o, "ftp://connect"),
                &["spec.hosts[0].url", ORIGIN],
            ),
            Case(
                "a scheme in capitals",
                |o| url(o, "HTTPS://connect"),
                &["spec.hosts[0].url", ORIGIN],
            ),
            Case(
                "a port that is none",
                |o| url(o, "https://connect:port"),
                &["spec.hosts[0].url", ORIGIN],
            ),
            Case(
                "a line end",
                |o| url(o, "https://connect\n"),
                &["spec.hosts[0].url", ORIGIN],
            ),
            Case(
                "no host",
                |o| url(o, "https://"),
                &["spec.hosts[0].url", ORIGIN],
            ),
            Case(
                "http",
                |o| url(o, "http://connect:8080"),
                &["spec", INSECURE],
            ),
            Case(
                "http, allowed",
                |o| {
                    url(o, "http://connect:8080");
                    o["spec"]["allowInsecure"] = json!(true);
                },
                ACCEPTED,
            ),
            Case(
                "http, not allowed",
                |o| {
                    url(o, "http://connect:8080");
                    o["spec"]["allowInsecure"] = json!(false);
                },
                &[INSECURE],
            ),
            Case(
                "http, null",
                |o| {
                    url(o, "http://connect:8080");
                    o["spec"]["allowInsecure"] = Value::Null;
                },
                &[INSECURE],
            ),
        ],
    )
    .await;
}

fn url(object: &mut Value, url: &str) {
    object["spec"]["hosts"] = json!([{"url": url}]);
}

#[tokio::test]
async fn poll_interval() {
    const RANGE: &str = "pollInterval must be from 1s to 1h";
    check(
        &server(),
        &[
            Case("1s", |o| o["spec"]["pollInterval"] = json!("1s"), ACCEPTED),
            Case(
                "1000ms",
                |o| o["spec"]["pollInterval"] = json!("1000ms"),
                ACCEPTED,
            ),
            Case("1h", |o| o["spec"]["pollInterval"] = json!("1h"), ACCEPTED),
            Case(
                "0h1m2s3ms",
                |o| o["spec"]["pollInterval"] = json!("0h1m2s3ms"),
                ACCEPTED,
            ),
            Case(
                "too short",
                |o| o["spec"]["pollInterval"] = json!("999ms"),
                &["spec.pollInterval", RANGE],
            ),
            Case(
                "too long",
                |o| o["spec"]["pollInterval"] = json!("1h1ms"),
                &["spec.pollInterval", RANGE],
            ),
            Case(
                "no unit",
                |o| o["spec"]["pollInterval"] = json!("30"),
                &["spec.pollInterval", "should match"],
            ),
            Case(
                "a number",
                |o| o["spec"]["pollInterval"] = json!(30),
                &["spec.pollInterval", "must be of type string"],
            ),
            Case(
                "negative",
                |o| o["spec"]["pollInterval"] = json!("-30s"),
                &["spec.pollInterval", "should match"],
            ),
            Case(
                "a fraction",
                |o| o["spec"]["pollInterval"] = json!("1.5s"),
                &["spec.pollInterval", "should match"],
            ),
            Case(
                "days",
                |o| o["spec"]["pollInterval"] = json!("1d"),
                &["spec.pollInterval", "should match"],
            ),
        ],
    )
    .await;
}

#[tokio::test]
async fn authority() {
    const ONE: &str = "ca needs exactly one of inline, configMapRef and secretRef";
    check(
        &server(),
        &[
            Case(
                "inline",
                |o| o["spec"]["ca"] = json!({"inline": "PEM"}),
                ACCEPTED,
            ),
            Case(
                "a ConfigMap",
                |o| o["spec"]["ca"] = json!({"configMapRef": {"name": "ca", "key": "ca.crt"}}),
                ACCEPTED,
            ),
            Case(
                "a Secret",
                |o| o["spec"]["ca"] = json!({"secretRef": {"name": "ca"}}),
                ACCEPTED,
            ),
            Case(
                "nothing",
                |o| o["spec"]["ca"] = json!({}),
                &["spec.ca", ONE],
            ),
            Case(
                "two",
                |o| o["spec"]["ca"] = json!({"inline": "PEM", "secretRef": {"name": "ca"}}),
                &["spec.ca", ONE],
            ),
            Case(
                "a null",
                |o| o["spec"]["ca"] = json!({"inline": null}),
                &["spec.ca", ONE],
            ),
            Case(
                "a null beside one",
                |o| o["spec"]["ca"] = json!({"inline": null, "secretRef": {"name": "ca"}}),
                ACCEPTED,
            ),
            Case(
                "empty",
                |o| o["spec"]["ca"] = json!({"inline": ""}),
                &["spec.ca.inline"],
            ),
            Case(
                "too long",
                |o| o["spec"]["ca"] = json!({"inline": "x".repeat(65537)}),
                &["spec.ca.inline: Too long"],
            ),
            Case(
                "a ConfigMap without name",
                |o| o["spec"]["ca"] = json!({"configMapRef": {}}),
                &["spec.ca.configMapRef.name: Required value"],
            ),
            Case(
                "an empty Secret",
                |o| o["spec"]["ca"] = json!({"secretRef": {"name": ""}}),
                &["spec.ca.secretRef.name"],
            ),
            Case(
                "an empty key",
                |o| o["spec"]["ca"] = json!({"secretRef": {"name": "ca", "key": ""}}),
                &["spec.ca.secretRef.key"],
            ),
        ],
    )
    .await;
}

#[tokio::test]
async fn access() {
    const ONE: &str = "namespaces needs exactly one of names, selector and all";
    const EMPTY: &str = "selector must not be empty; use all: true for every namespace";
    const VAULT: &str = "a vault is selected by exactly one of name and id";
    const AT: &str = "spec.access[0].namespaces";
    check(
        &server(),
        &[
            Case("absent", |o| remove(o, "/spec/access"), &["spec.access: Required value"]),
            Case("no rows", |o| o["spec"]["access"] = json!([]), ACCEPTED),
            Case("the most and longest rows", |o| o["spec"]["access"] = rows(64), ACCEPTED),
            Case("too many rows", |o| o["spec"]["access"] = rows(65), &["spec.access: Too many: 65: must have at most 64"]),
            Case("a name twice", |o| o["spec"]["access"] = json!([o["spec"]["access"][0], o["spec"]["access"][0]]), &["spec.access[1]: Duplicate value: {\"name\":\"shop\"}"]),
            Case("no name", |o| remove(o, "/spec/access/0/name"), &["spec.access[0].name: Required value"]),
            Case("an empty name", |o| o["spec"]["access"][0]["name"] = json!(""), &["spec.access[0].name"]),
            Case("no namespaces", |o| remove(o, "/spec/access/0/namespaces"), &["spec.access[0].namespaces: Required value"]),
            Case("empty namespaces", |o| namespaces(o, json!({})), &[AT, ONE]),
            Case("no names", |o| namespaces(o, json!({"names": []})), &["spec.access[0].namespaces.names", "at least 1 items"]),
            Case("an empty namespace", |o| namespaces(o, json!({"names": [""]})), &["spec.access[0].namespaces.names[0]"]),
            Case("too many names", |o| namespaces(o, json!({"names": vec!["n"; 257]})), &["spec.access[0].namespaces.names: Too many"]),
            Case("all", |o| namespaces(o, json!({"all": true})), ACCEPTED),
            Case("not all", |o| namespaces(o, json!({"all": false})), &[AT, "all can only be true; leave the row out instead"]),
            Case("all and names", |o| namespaces(o, json!({"all": true, "names": ["shop"]})), &[AT, ONE]),
            Case("names and a null", |o| namespaces(o, json!({"all": null, "names": ["shop"]})), ACCEPTED),
            Case("a null alone", |o| namespaces(o, json!({"all": null})), &[AT, ONE]),
            Case("a selector", |o| namespaces(o, json!({"selector": {"matchLabels": {"team": "shop"}}})), ACCEPTED),
            Case("a selector of expressions", |o| namespaces(o, json!({"selector": {"matchExpressions": [{"key": "t", "operator": "Exists"}]}})), ACCEPTED),
            Case("an empty selector", |o| namespaces(o, json!({"selector": {}})), &[AT, EMPTY]),
            Case("a selector of nothing", |o| namespaces(o, json!({"selector": {"matchLabels": {}, "matchExpressions": []}})), &[AT, EMPTY]),
            Case("absent vaults", |o| remove(o, "/spec/access/0/vaults"), &["spec.access[0].vaults: Required value"]),
            Case("no vaults", |o| o["spec"]["access"][0]["vaults"] = json!([]), &["spec.access[0].vaults"]),
            Case("too many vaults", |o| o["spec"]["access"][0]["vaults"] = json!(vec![json!({"name": "v"}); 65]), &["spec.access[0].vaults: Too many"]),
            Case("a vault by id", |o| vault(o, json!({"id": "abcdefghijklmnopqrstuvwxy2"})), ACCEPTED),
            Case("a vault by nothing", |o| vault(o, json!({})), &["spec.access[0].vaults[0]", VAULT]),
            Case("a vault by name and id", |o| vault(o, json!({"name": "v", "id": "abcdefghijklmnopqrstuvwxyz"})), &["spec.access[0].vaults[0]", VAULT]),
            Case("a vault by a null", |o| vault(o, json!({"name": null})), &["spec.access[0].vaults[0]", VAULT]),
            Case("an empty vault", |o| vault(o, json!({"name": ""})), &["spec.access[0].vaults[0].name"]),
            Case("a short id", |o| vault(o, json!({"id": "abc"})), &["spec.access[0].vaults[0].id"]),
            Case("an id in capitals", |o| vault(o, json!({"id": "ABCDEFGHIJKLMNOPQRSTUVWXYZ"})), &["spec.access[0].vaults[0].id", "id must be 26 lower-case letters and digits"]),
            Case("items", |o| o["spec"]["access"][0]["items"] = json!(["orders-*", "root?"]), ACCEPTED),
            Case("no items", |o| o["spec"]["access"][0]["items"] = json!([]), &["spec.access[0].items"]),
            Case("an empty item", |o| o["spec"]["access"][0]["items"] = json!([""]), &["spec.access[0].items[0]"]),
            Case("too many items", |o| o["spec"]["access"][0]["items"] = json!(vec!["i"; 65]), &["spec.access[0].items: Too many"]),
            Case("too long an item", |o| o["spec"]["access"][0]["items"] = json!(["i".repeat(257)]), &["spec.access[0].items[0]: Too long"]),
            Case("an unknown field", |o| o["spec"]["access"][0]["item"] = json!("x"), &["unknown field \"spec.access[0].item\""]),
        ],
    )
    .await;
}

fn namespaces(object: &mut Value, namespaces: Value) {
    object["spec"]["access"][0]["namespaces"] = namespaces;
}

fn vault(object: &mut Value, vault: Value) {
    object["spec"]["access"][0]["vaults"] = json!([vault]);
}

/// So many rows, each with about as much as one can have in an object of 1.5 MiB.
fn rows(count: usize) -> Value {
    let row = |number| {
        json!({"name": format!("{number:063}"), "namespaces": {"names": vec!["n".repeat(63); 64]},
            "vaults": vec![json!({"name": "v".repeat(128)}); 64]})
    };
    (0..count).map(row).collect()
}

#[tokio::test]
async fn changes() {
    const CLASS: &[&str] = &[
        "spec.controllerClass cannot change: it decides which operator serves the requests of this server",
    ];
    let mut base = server();
    base["metadata"]["name"] = json!("schema-no-class");
    // No operator of another test may take them for its own.
    base["spec"]["access"] = json!([]);
    check_changes(
        &base,
        &[
            Case(
                "a class",
                |o| o["spec"]["controllerClass"] = json!("blue"),
                CLASS,
            ),
            Case(
                "the empty class, which is what absent means",
                |o| o["spec"]["controllerClass"] = json!(""),
                ACCEPTED,
            ),
            Case(
                "everything else",
                |o| {
                    o["spec"]["hosts"] = json!([{"url": "https://other"}]);
                    o["spec"]["tokenSecretRef"]["name"] = json!("other");
                    o["spec"]["pollInterval"] = json!("2s");
                },
                ACCEPTED,
            ),
        ],
    )
    .await;
    base["metadata"]["name"] = json!("schema-class");
    base["spec"]["controllerClass"] = json!("green");
    check_changes(
        &base,
        &[
            Case(
                "another class",
                |o| o["spec"]["controllerClass"] = json!("blue"),
                CLASS,
            ),
            Case("no class", |o| remove(o, "/spec/controllerClass"), CLASS),
        ],
    )
    .await;
}
