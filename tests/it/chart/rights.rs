//! The least that the operator can work with: what the chart gives, held to the list in `rights.txt`, and what a
//! ServiceAccount with it may and may not do.

use std::collections::BTreeSet;
use std::fs;

use axum::http::Request;
use kube::Client;
use portcullis_test_support::{Bed, manifests, wait};
use serde_json::{Value, json};

use super::serves::Release;
use super::{objects, rendered};

const LIST: &str = "tests/it/chart/rights.txt";
const FOLDER: &str = "tests/it/chart/shapes";

/// Every shape, with the part of the list that has its rights.
const SHAPES: [(&str, &str); 5] = [
    ("default", "default"),
    ("connect", "default"),
    ("connect-server", "default"),
    ("namespaces", "namespaces"),
    ("everything", "everything"),
];

/// The rights in a render, one a line: who, where, what, which ones.
fn rights(render: &str) -> BTreeSet<String> {
    let objects = objects(render);
    let is = |object: &Value, kind: &str| object["kind"] == kind;
    let role_of = |binding: &Value| {
        let reference = &binding["roleRef"];
        let mut roles = objects.iter().filter(|o| {
            o["kind"] == reference["kind"]
                && o["metadata"]["name"] == reference["name"]
                && (o["kind"] == "ClusterRole"
                    || o["metadata"]["namespace"] == binding["metadata"]["namespace"])
        });
        // One of another chart or of Kubernetes would give rights that are not listed.
        roles.next().expect("a binding is to a role of the chart").clone()
    };
    let mut found = BTreeSet::new();
    let mut bound = Vec::new();
    for binding in objects.iter().filter(|o| is(o, "ClusterRoleBinding") || is(o, "RoleBinding")) {
        let place = match binding["metadata"]["namespace"].as_str() {
            Some(namespace) => format!("in {namespace}"),
            None => "everywhere".to_owned(),
        };
        let role = role_of(binding);
        for subject in binding["subjects"].as_array().unwrap() {
            let who = format!("{} {}/{}", subject["kind"], subject["namespace"], subject["name"])
                .replace('"', "");
            found.extend(rules(&role).map(|rule| format!("{who}, {place}: {rule}")));
        }
        bound.push(role["metadata"].clone());
    }
    for role in objects.iter().filter(|o| is(o, "ClusterRole") && !bound.contains(&o["metadata"])) {
        let name = role["metadata"]["name"].as_str().unwrap();
        let aggregated = role["metadata"]["labels"].as_object().unwrap().keys();
        let into: Vec<_> = aggregated
            .filter_map(|l| l.strip_prefix("rbac.authorization.k8s.io/aggregate-to-"))
            .collect();
        let whose = if into.is_empty() {
            String::new()
        } else {
            format!(", part of {}", into.join(" and "))
        };
        found.extend(rules(role).map(|rule| format!("whoever is bound to {name}{whose}: {rule}")));
    }
    found
}

/// The rules of a role, one a resource.
fn rules(role: &Value) -> impl Iterator<Item = String> {
    let list = |value: &Value| -> Vec<String> {
        let all = value.as_array().into_iter().flatten();
        all.map(|text| text.as_str().unwrap().to_owned()).collect()
    };
    let mut lines = Vec::new();
    for rule in role["rules"].as_array().unwrap() {
        assert!(rule["nonResourceURLs"].is_null(), "a rule on URLs: {rule}");
        let mut verbs = list(&rule["verbs"]);
        verbs.sort();
        let names = list(&rule["resourceNames"]);
        let named =
            if names.is_empty() { String::new() } else { format!(" named {}", names.join(" or ")) };
        for group in list(&rule["apiGroups"]) {
            for resource in list(&rule["resources"]) {
                let dot = if group.is_empty() { "" } else { "." };
                lines.push(format!("{resource}{dot}{group}{named}: {}", verbs.join(" ")));
            }
        }
    }
    lines.into_iter()
}

#[tokio::test]
async fn the_chart_gives_the_rights_on_the_list_and_no_wildcard() {
    let list = fs::read_to_string(manifests::repository().join(LIST)).unwrap();
    assert_eq!(SHAPES.len(), fs::read_dir(manifests::repository().join(FOLDER)).unwrap().count());
    for (name, part) in SHAPES {
        let section = list
            .split("\n[")
            .find_map(|s| s.strip_prefix(&format!("{part}]\n")))
            .unwrap_or_default();
        let listed: BTreeSet<String> = section
            .lines()
            .filter(|l| !l.is_empty() && !l.starts_with('#'))
            .map(str::to_owned)
            .collect();
        let given = rights(&rendered(name).await);
        assert!(!given.iter().any(|right| right.contains('*')), "a wildcard in {given:#?}");
        let (more, less): (Vec<_>, Vec<_>) =
            (given.difference(&listed).collect(), listed.difference(&given).collect());
        assert!(
            more.is_empty() && less.is_empty(),
            "{name}: given but not listed {more:#?}, listed but not given {less:#?}"
        );
    }
}

/// A call to the API server, of which only the method and the path matter: it looks at rights before anything else.
type Call = (&'static str, &'static str);

/// In the namespace of a request, T, and in the operator's own, O.
const NEEDED: [Call; 22] = [
    ("GET", "/apis/portcullis.dev/v1alpha1/connectservers"),
    ("GET", "/apis/portcullis.dev/v1alpha1/credentialpolicies"),
    ("PATCH", "/apis/portcullis.dev/v1alpha1/connectservers/x/status"),
    ("PATCH", "/apis/portcullis.dev/v1alpha1/credentialpolicies/x/status"),
    ("GET", "/api/v1/namespaces"),
    ("GET", "/apis/portcullis.dev/v1alpha1/namespaces/T/credentialrequests"),
    ("GET", "/apis/portcullis.dev/v1alpha1/namespaces/T/credentialrequests/x"),
    ("PATCH", "/apis/portcullis.dev/v1alpha1/namespaces/T/credentialrequests/x/status"),
    ("GET", "/api/v1/namespaces/T/secrets"),
    ("POST", "/api/v1/namespaces/T/secrets"),
    ("PATCH", "/api/v1/namespaces/T/secrets/x"),
    ("DELETE", "/api/v1/namespaces/T/secrets/x"),
    ("POST", "/apis/events.k8s.io/v1/namespaces/T/events"),
    ("POST", "/apis/events.k8s.io/v1/namespaces/O/events"),
    ("GET", "/api/v1/namespaces/O/secrets"),
    ("POST", "/api/v1/namespaces/O/secrets"),
    ("GET", "/api/v1/namespaces/O/configmaps"),
    ("POST", "/api/v1/namespaces/O/configmaps"),
    ("PATCH", "/api/v1/namespaces/O/configmaps/portcullis-audit"),
    ("GET", "/apis/portcullis.dev/v1alpha1/namespaces/O/accessprofiles"),
    ("POST", "/apis/portcullis.dev/v1alpha1/namespaces/O/accessprofiles"),
    ("PUT", "/apis/portcullis.dev/v1alpha1/namespaces/O/accessprofiles/x"),
];

const REFUSED: [Call; 39] = [
    // What is the operator's own, elsewhere.
    ("GET", "/apis/portcullis.dev/v1alpha1/namespaces/T/accessprofiles"),
    ("DELETE", "/apis/portcullis.dev/v1alpha1/namespaces/T/accessprofiles/x"),
    // What people write.
    ("POST", "/apis/portcullis.dev/v1alpha1/connectservers"),
    ("PATCH", "/apis/portcullis.dev/v1alpha1/connectservers/x"),
    ("DELETE", "/apis/portcullis.dev/v1alpha1/connectservers/x"),
    ("POST", "/apis/portcullis.dev/v1alpha1/credentialpolicies"),
    ("PATCH", "/apis/portcullis.dev/v1alpha1/credentialpolicies/x"),
    ("DELETE", "/apis/portcullis.dev/v1alpha1/credentialpolicies/x"),
    ("POST", "/apis/portcullis.dev/v1alpha1/namespaces/T/credentialrequests"),
    ("PATCH", "/apis/portcullis.dev/v1alpha1/namespaces/T/credentialrequests/x"),
    ("PUT", "/apis/portcullis.dev/v1alpha1/namespaces/T/credentialrequests/x/status"),
    ("DELETE", "/apis/portcullis.dev/v1alpha1/namespaces/T/credentialrequests/x"),
    ("DELETE", "/apis/portcullis.dev/v1alpha1/namespaces/T/credentialrequests"),
    ("GET", "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"),
    (
        "DELETE",
        "/apis/apiextensions.k8s.io/v1/customresourcedefinitions/credentialrequests.portcullis.dev",
    ),
    // Secrets in other ways than one by one.
    ("PUT", "/api/v1/namespaces/T/secrets/x"),
    ("DELETE", "/api/v1/namespaces/T/secrets"),
    ("DELETE", "/api/v1/namespaces/O/secrets"),
    // Facts and settings of others.
    ("PATCH", "/api/v1/namespaces/T"),
    ("POST", "/api/v1/namespaces"),
    ("DELETE", "/api/v1/namespaces/T"),
    ("GET", "/api/v1/namespaces/T/configmaps"),
    ("PATCH", "/api/v1/namespaces/O/configmaps/x"),
    // Pods, and what runs them.
    ("GET", "/api/v1/pods"),
    ("POST", "/api/v1/namespaces/O/pods"),
    ("POST", "/api/v1/namespaces/T/pods/x/exec"),
    ("GET", "/api/v1/namespaces/T/pods/x/log"),
    ("PATCH", "/apis/apps/v1/namespaces/T/deployments/x"),
    ("PATCH", "/apis/apps/v1/namespaces/O/deployments/portcullis"),
    ("GET", "/api/v1/nodes"),
    ("GET", "/api/v1/nodes/x/proxy/pods"),
    // More rights than these.
    ("POST", "/api/v1/namespaces/O/serviceaccounts/portcullis/token"),
    ("POST", "/api/v1/namespaces/T/serviceaccounts/default/token"),
    ("POST", "/apis/rbac.authorization.k8s.io/v1/clusterrolebindings"),
    ("PATCH", "/apis/rbac.authorization.k8s.io/v1/clusterroles/portcullis"),
    ("POST", "/apis/rbac.authorization.k8s.io/v1/namespaces/T/rolebindings"),
    ("POST", "/apis/certificates.k8s.io/v1/certificatesigningrequests"),
    ("GET", "/apis/admissionregistration.k8s.io/v1/validatingadmissionpolicies"),
    ("POST", "/apis/authentication.k8s.io/v1/tokenreviews"),
];

/// With `namespaces`, in one that is not among them, E: what the operator may otherwise do there.
const ELSEWHERE: [Call; 9] = [
    ("GET", "/apis/portcullis.dev/v1alpha1/credentialrequests"),
    ("GET", "/apis/portcullis.dev/v1alpha1/namespaces/E/credentialrequests"),
    ("PATCH", "/apis/portcullis.dev/v1alpha1/namespaces/E/credentialrequests/x/status"),
    ("GET", "/api/v1/secrets"),
    ("GET", "/api/v1/namespaces/E/secrets/x"),
    ("POST", "/api/v1/namespaces/E/secrets"),
    ("PATCH", "/api/v1/namespaces/E/secrets/x"),
    ("DELETE", "/api/v1/namespaces/E/secrets/x"),
    ("POST", "/apis/events.k8s.io/v1/namespaces/E/events"),
];

/// Those of the calls that the API server forbids.
async fn forbidden(client: &Client, calls: &[Call], tenant: &str, own: &str) -> Vec<Call> {
    let mut found = Vec::new();
    for &call in calls {
        let path = call.1.replace("/T", &format!("/{tenant}")).replace("/O/", &format!("/{own}/"));
        if is_forbidden(client, call.0, &path.replace("/E/", "/default/"), &[]).await {
            found.push(call);
        }
    }
    found
}

async fn is_forbidden(client: &Client, method: &str, path: &str, headers: &[(&str, &str)]) -> bool {
    // Nothing is written, should it be allowed.
    let dry_run = if method == "GET" { "" } else { "?dryRun=All" };
    let patch = method == "PATCH";
    let content = if patch { "application/merge-patch+json" } else { "application/json" };
    let mut request = Request::builder().method(method).uri(format!("{path}{dry_run}"));
    for (name, value) in [("content-type", content)].iter().chain(headers) {
        request = request.header(*name, *value);
    }
    match client.request_text(request.body(b"{}".to_vec()).unwrap()).await {
        Ok(_) => false,
        Err(kube::Error::Api(status)) => status.code == 403,
        Err(error) => panic!("{method} {path}: {error}"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_operator_may_do_what_it_needs_and_is_refused_the_rest() {
    let bed = Bed::new("rights").await;
    let client = bed.service_account_client().await;
    let (tenant, own) = (&bed.namespace, &bed.operator_namespace);
    assert_eq!(forbidden(&client, &NEEDED, tenant, own).await, []);
    assert_eq!(forbidden(&client, &ELSEWHERE, tenant, own).await, []);
    assert_eq!(forbidden(&client, &REFUSED, tenant, own).await, REFUSED);
    let somebody = [("impersonate-user", "system:admin"), ("impersonate-group", "system:masters")];
    assert!(is_forbidden(&client, "GET", "/api/v1/namespaces", &somebody).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_operator_for_some_namespaces_is_refused_all_others() {
    let bed = Bed::new("rights-named").await;
    let release = Release::install(&bed, json!({"namespaces": [bed.namespace]})).await;
    let account = bed.cluster.service_account_client(&release.namespace, &release.name).await;
    let client = account.unwrap();
    let (tenant, own) = (&bed.namespace, &release.namespace);
    wait::until("the operator's rights", wait::WAIT, async || {
        let missing = forbidden(&client, &NEEDED, tenant, own).await;
        if missing.is_empty() { Ok(()) } else { Err(format!("forbidden: {missing:?}")) }
    })
    .await;
    assert_eq!(forbidden(&client, &REFUSED, tenant, own).await, REFUSED);
    assert_eq!(forbidden(&client, &ELSEWHERE, tenant, own).await, ELSEWHERE);
    release.uninstall().await;
}
