//! How a ConnectServer is reached.

use serde_json::{Value, json};

use super::servers::server;
use super::{ACCEPTED, Case, check, remove};

#[tokio::test]
async fn hosts() {
    const ORIGIN: &str = "url must be an origin such as https://connect.internal:8443, without a path, user or query";
    const INSECURE: &str =
        "hosts must use https://; http:// sends the token in clear and needs allowInsecure: true";
    check(
        &server(),
        &[
            Case("none", |o| o["spec"]["hosts"] = json!([]), &["spec.hosts", "at least 1 items"]),
            Case("absent", |o| remove(o, "/spec/hosts"), &["spec.hosts: Required value"]),
            Case(
                "two",
                |o| o["spec"]["hosts"] = json!([{"url": "https://a"}, {"url": "https://b"}]),
                ACCEPTED,
            ),
            Case(
                "the same twice",
                |o| o["spec"]["hosts"] = json!([{"url": "https://a"}, {"url": "https://a"}]),
                &["spec.hosts[1]: Duplicate value"],
            ),
            Case(
                "nine",
                |o| {
                    o["spec"]["hosts"] =
                        (0..9).map(|n| json!({"url": format!("https://h{n}")})).collect();
                },
                &["spec.hosts: Too many: 9: must have at most 8"],
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
            Case("a slash at the end", |o| url(o, "https://connect/"), ACCEPTED),
            Case("an address", |o| url(o, "https://10.0.0.1:8443"), ACCEPTED),
            Case("an IPv6 address", |o| url(o, "https://[fd00::1]:8443"), ACCEPTED),
            Case("a path", |o| url(o, "https://connect/v1"), &["spec.hosts[0].url", ORIGIN]),
            Case("a query", |o| url(o, "https://connect?x=y"), &["spec.hosts[0].url", ORIGIN]),
            Case("a fragment", |o| url(o, "https://connect#x"), &["spec.hosts[0].url", ORIGIN]),
            Case("a user", |o| url(o, "https://user:pass@connect"), &["spec.hosts[0].url", ORIGIN]),
            Case("no scheme", |o| url(o, "connect.internal"), &["spec.hosts[0].url", ORIGIN]),
            Case("another scheme", |o| url(o, "ftp://connect"), &["spec.hosts[0].url", ORIGIN]),
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
            Case("a line end", |o| url(o, "https://connect\n"), &["spec.hosts[0].url", ORIGIN]),
            Case("no host", |o| url(o, "https://"), &["spec.hosts[0].url", ORIGIN]),
            Case("http", |o| url(o, "http://connect:8080"), &["spec", INSECURE]),
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
            Case("1000ms", |o| o["spec"]["pollInterval"] = json!("1000ms"), ACCEPTED),
            Case("1h", |o| o["spec"]["pollInterval"] = json!("1h"), ACCEPTED),
            Case("0h1m2s3ms", |o| o["spec"]["pollInterval"] = json!("0h1m2s3ms"), ACCEPTED),
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
            Case("inline", |o| o["spec"]["ca"] = json!({"inline": "PEM"}), ACCEPTED),
            Case(
                "a ConfigMap",
                |o| o["spec"]["ca"] = json!({"configMapRef": {"name": "ca", "key": "ca.crt"}}),
                ACCEPTED,
            ),
            Case("a Secret", |o| o["spec"]["ca"] = json!({"secretRef": {"name": "ca"}}), ACCEPTED),
            Case("nothing", |o| o["spec"]["ca"] = json!({}), &["spec.ca", ONE]),
            Case(
                "two",
                |o| o["spec"]["ca"] = json!({"inline": "PEM", "secretRef": {"name": "ca"}}),
                &["spec.ca", ONE],
            ),
            Case("a null", |o| o["spec"]["ca"] = json!({"inline": null}), &["spec.ca", ONE]),
            Case(
                "a null beside one",
                |o| o["spec"]["ca"] = json!({"inline": null, "secretRef": {"name": "ca"}}),
                ACCEPTED,
            ),
            Case("empty", |o| o["spec"]["ca"] = json!({"inline": ""}), &["spec.ca.inline"]),
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
