//! Records that do not hold all that is kept, and those that cannot be read.

use portcullis::api::Reason;
use portcullis::settings::Settings;
use portcullis_test_support::connect_dev::{FaultKind, FaultSpec, ItemSpec};
use portcullis_test_support::k8s_openapi::api::rbac::v1::{ClusterRole, ClusterRoleBinding, Role};
use portcullis_test_support::kube::ResourceExt as _;
use portcullis_test_support::kube::api::{DeleteParams, Patch, PatchParams};
use portcullis_test_support::kube::{Api, Client};
use portcullis_test_support::{Bed, OperatorOptions, condition, wait};
use serde_json::{Value, json};

use super::{
    KeyFolder, bytes, epoch, keeping, record_of, wait_persisted, wait_record, wait_served,
    wait_synced,
};

/// More than a third of what a record holds.
const SIZE: usize = 200 << 10;

fn large(bed: &Bed, item: usize) -> String {
    format!("{}-{item}-{}", bed.canary(), "x".repeat(SIZE))
}

async fn request_large(bed: &Bed, name: &str, item: usize) {
    let reference = format!("op://services/large-{item}/password");
    bed.request_data(name, &[("password", &reference)]).await;
}

async fn message(bed: &Bed, reason: Reason) -> String {
    let server = bed.wait_server_reason("CachePersisted", reason).await;
    let conditions = server.status.unwrap().conditions;
    conditions.into_iter().find(|c| c.type_ == "CachePersisted").unwrap().message
}

#[tokio::test(flavor = "multi_thread")]
async fn what_does_not_fit_into_a_record_is_told_of_and_what_was_used_last_comes_back() {
    let bed = keeping("keep-large").await;
    for item in 0..3 {
        let large = ItemSpec::new(&format!("large-{item}")).field("password", &large(&bed, item));
        bed.connect.add_item("services", large).unwrap();
    }
    let folder = KeyFolder::new(&bed);
    let operator = folder.operator(&bed).await;
    for item in 0..3 {
        let name = format!("orders-{item}");
        request_large(&bed, &name, item).await;
        bed.wait_value(&name, "password", &large(&bed, item)).await;
    }
    let said = message(&bed, Reason::CacheNotWritten).await;
    assert!(said.contains("1 of 3 do not fit"), "{said}");
    operator.stop().await;
    bed.connect.stop();

    let operator = folder.operator(&bed).await;
    wait_persisted(&operator, "read", 1.0).await;
    for item in 0..3 {
        request_large(&bed, &format!("new-{item}"), item).await;
    }
    for item in 1..3 {
        let name = format!("new-{item}");
        wait_served(&bed, &name).await;
        bed.wait_value(&name, "password", &large(&bed, item)).await;
    }
    let left_out = bed.wait_reason("new-0", Reason::ConnectUnavailable).await;
    assert_eq!(condition(&left_out, "Ready").unwrap().status, "False");
    assert!(bed.secret("new-0").await.is_none());
    bed.connect.restart().unwrap();
    for item in 0..3 {
        wait_synced(&bed, &format!("new-{item}")).await;
    }
    operator.stop().await;
}

/// Rights of the bed's operator of its own, by which it reads Secrets of these names alone, or all.
struct Rights<'b> {
    bed: &'b Bed,
    name: String,
    roles: Api<ClusterRole>,
    local: Api<Role>,
}

impl<'b> Rights<'b> {
    async fn new(bed: &'b Bed) -> Self {
        let client: Client = bed.client.clone();
        let name = format!("portcullis-{}", bed.class);
        let roles: Api<ClusterRole> = Api::all(client.clone());
        let bindings: Api<ClusterRoleBinding> = Api::all(client.clone());
        let role = roles.get("portcullis").await.unwrap();
        bed.apply(json!({
            "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRole",
            "metadata": {"name": name}, "rules": role.rules,
        }))
        .await;
        // What a binding binds to cannot be changed.
        let subjects = bindings.get(&name).await.unwrap().subjects;
        bindings.delete(&name, &DeleteParams::default()).await.unwrap();
        let of =
            json!({"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": name});
        bed.apply(json!({
            "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRoleBinding",
            "metadata": {"name": name}, "roleRef": of, "subjects": subjects,
        }))
        .await;
        let local = Api::namespaced(client, &bed.operator_namespace);
        Self { bed, name, roles, local }
    }

    async fn read(&self, names: Option<&[&str]>) {
        let rules = |rules: Value| {
            let others =
                rules.as_array().unwrap().iter().filter(|r| r["resources"] != json!(["secrets"]));
            let mut rules: Vec<Value> = others.cloned().collect();
            let verbs = ["list", "watch", "create", "patch", "delete"];
            rules.push(json!({"apiGroups": [""], "resources": ["secrets"], "verbs": verbs}));
            let mut get = json!({"apiGroups": [""], "resources": ["secrets"], "verbs": ["get"]});
            if let Some(names) = names {
                get["resourceNames"] = json!(names);
            }
            rules.push(get);
            Patch::Merge(json!({"rules": rules}))
        };
        let params = PatchParams::default();
        let role = self.roles.get(&self.name).await.unwrap();
        self.roles.patch(&self.name, &params, &rules(json!(role.rules))).await.unwrap();
        let local = self.local.get("portcullis").await.unwrap();
        self.local.patch("portcullis", &params, &rules(json!(local.rules))).await.unwrap();
    }

    /// Waits until the API server holds to it.
    async fn wait_read(&self, secret: &str, may: bool) {
        let client = self.bed.service_account_client().await;
        let api: Api<portcullis_test_support::k8s_openapi::api::core::v1::Secret> =
            Api::namespaced(client, &self.bed.operator_namespace);
        wait::until(&format!("reading {secret} to be allowed: {may}"), wait::WAIT, async || {
            let is = api.get(secret).await.is_ok();
            if is == may { Ok(()) } else { Err(format!("{is}")) }
        })
        .await;
    }

    async fn finish(self) {
        self.roles.delete(&self.name, &DeleteParams::default()).await.unwrap();
    }
}

/// How often the operator tried in vain to read a Secret.
async fn denied(bed: &Bed, secret: &str) -> usize {
    let calls = bed.operator_calls().await;
    let concerns = |call: &&Value| {
        call["verb"] == "get"
            && call["objectRef"]["name"] == secret
            && call["responseStatus"]["code"] == 403
    };
    calls.iter().filter(concerns).count()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_record_that_cannot_be_read_is_tried_again_left_alone_and_replaced_by_the_next() {
    let bed = keeping("keep-unread").await;
    let folder = KeyFolder::new(&bed);
    let operator = folder.operator(&bed).await;
    bed.request("orders", |_| {}).await;
    bed.wait_ready("orders").await;
    let record = wait_record(&bed, "services", 0).await;
    let (name, before) = (record.name_any(), epoch(&bed, "services").await);
    operator.stop().await;
    let secret = bed.secret("orders").await;
    let rights = Rights::new(&bed).await;
    rights.read(Some(&["connect-token", "portcullis-keys", "orders"])).await;
    rights.wait_read(&name, false).await;
    rights.wait_read("connect-token", true).await;
    let tried = denied(&bed, &name).await;

    let operator = folder.operator(&bed).await;
    wait_persisted(&operator, "unread", 1.0).await;
    wait::until("three tries", wait::WAIT, async || {
        let more = denied(&bed, &name).await - tried;
        if more >= 3 { Ok(()) } else { Err(format!("{more}")) }
    })
    .await;
    bed.wait_server_reason("Ready", Reason::Connected).await;
    assert_eq!(bytes(&record_of(&bed, "services").await.unwrap()), bytes(&record));
    assert_eq!(bed.secret("orders").await, secret);

    rights.read(None).await;
    rights.wait_read(&name, true).await;
    let password = format!("{}-rotated", bed.canary());
    bed.connect.set_field("services", "orders-db", "password", &password).unwrap();
    bed.wait_value("orders", "password", &password).await;
    wait_record(&bed, "services", before).await;
    operator.stop().await;
    bed.connect.stop();
    let operator = folder.operator(&bed).await;
    wait_persisted(&operator, "read", 1.0).await;
    bed.request("new", |_| {}).await;
    wait_served(&bed, "new").await;
    bed.wait_value("new", "password", &password).await;
    operator.stop().await;
    rights.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_record_of_a_refused_vault_that_cannot_be_deleted_is_void_and_goes_as_soon_as_it_can() {
    let bed = keeping("keep-undeleted").await;
    let folder = KeyFolder::new(&bed);
    let operator = folder.operator(&bed).await;
    bed.request("orders", |_| {}).await;
    bed.wait_ready("orders").await;
    let record = wait_record(&bed, "services", 0).await;
    let (name, before) = (record.name_any(), epoch(&bed, "services").await);
    let rights = Rights::new(&bed).await;
    rights.read(Some(&["connect-token", "portcullis-keys", "orders"])).await;
    rights.wait_read(&name, false).await;
    bed.connect.set_token_scope(&bed.token, &["infra"]);
    wait_persisted(&operator, "failed", 3.0).await;
    let said = message(&bed, Reason::CacheNotWritten).await;
    assert!(said.contains(&bed.connect.vault_id("services").unwrap()), "{said}");
    assert_eq!(bytes(&record_of(&bed, "services").await.unwrap()), bytes(&record));
    assert_eq!(
        epoch(&bed, "services").await,
        before + 1,
        "what is there is older than the last one"
    );

    rights.read(None).await;
    wait::until("the record to go", wait::WAIT, async || {
        let left = record_of(&bed, "services").await;
        left.map_or(Ok(()), |_| Err("it is there".to_owned()))
    })
    .await;
    bed.wait_server_reason("CachePersisted", Reason::CachePersisted).await;
    operator.stop().await;
    rights.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_not_kept_is_not_gone_when_the_server_answers_after_a_restart() {
    let bed = keeping("keep-rest").await;
    for item in 0..20 {
        let value = format!("{}-{item}", bed.canary());
        let rest = ItemSpec::new(&format!("rest-{item}")).field("password", &value);
        bed.connect.add_item("services", rest).unwrap();
    }
    let folder = KeyFolder::new(&bed);
    let operator = folder.operator(&bed).await;
    bed.request("orders", |_| {}).await;
    bed.wait_ready("orders").await;
    wait_record(&bed, "services", 0).await;
    operator.stop().await;
    // More requests than may have a list read again, for items that no record has; the list takes its time.
    for item in 0..20 {
        let reference = format!("op://services/rest-{item}/password");
        bed.request_data(&format!("rest-{item}"), &[("k", &reference)]).await;
    }
    let slow = FaultKind::Latency(std::time::Duration::from_millis(800));
    bed.connect.fault(FaultSpec::new(slow).on("GET /v1/vaults/{v}/items"));
    let operator = folder.operator(&bed).await;
    wait_persisted(&operator, "read", 1.0).await;
    for item in 0..20 {
        let request = bed.wait_ready(&format!("rest-{item}")).await;
        let history = request.status.unwrap().history;
        let reasons: Vec<&str> = history.iter().map(|h| h.reason.as_str()).collect();
        assert!(!reasons.contains(&"ItemNotFound"), "{reasons:?}");
    }
    operator.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_list_that_is_not_believed_is_asked_for_once_a_poll_by_whoever_misses_an_item() {
    let bed = keeping("keep-lags").await;
    let second = bed.second_host().await;
    let folder = KeyFolder::new(&bed);
    let operator = folder.operator(&bed).await;
    bed.request_data("good", &[("k", "op://services/orders-db/password")]).await;
    wait_synced(&bed, "good").await;
    wait_record(&bed, "services", 0).await;
    let before = epoch(&bed, "services").await;
    let rotated = format!("{}-rotated", bed.canary());
    bed.connect.set_field("services", "orders-db", "password", &rotated).unwrap();
    bed.wait_value("good", "k", &rotated).await;
    wait_record(&bed, "services", before).await;
    operator.stop().await;
    bed.connect.stop();

    // The other host lists what was, and what it lists besides is not in the record.
    let settings = Settings { refusal_confirm: wait::LONGEST * 10, ..Settings::for_tests() };
    let options =
        OperatorOptions { settings, cache_keys: folder.keys(), ..OperatorOptions::default() };
    second.reset_requests();
    let operator = bed.operator_of(options).await;
    wait_persisted(&operator, "read", 1.0).await;
    for n in 0..5 {
        let reference = "op://services/orders-api/password";
        bed.request_data(&format!("new-{n}"), &[("k", reference)]).await;
    }
    wait::until("the second host to be polled", wait::WAIT, async || {
        let polls = second.requests().route("GET /v1/vaults");
        if polls >= 5 { Ok(()) } else { Err(format!("{polls} polls")) }
    })
    .await;
    let asked = second.requests();
    let (polls, lists) = (asked.route("GET /v1/vaults"), asked.route("GET /v1/vaults/{v}/items"));
    assert!((1..=polls + 2).contains(&lists), "{lists} lists in {polls} polls");
    assert_eq!(bed.secret_values("good").await["k"], rotated);
    operator.stop().await;
}
