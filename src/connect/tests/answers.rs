//! What a server that works answers, and what is checked of it.

use super::*;

#[tokio::test]
async fn vaults_are_listed_with_the_token_and_the_user_agent() {
    let body = format!(
        r#"[{{"id":"{VAULT}","name":"services","contentVersion":42,"items":2,"type":"NOVEL"}},
            {{"id":"{OTHER}","name":"infra"}}]"#
    );
    let server = Server::start(json("200 OK", &body)).await;
    let mut config = config(&format!("{}/", server.origin));
    config.token = format!(" {TOKEN}\n").into();
    let client = client(config);
    assert_eq!(client.active_host(), server.origin);
    let vaults = client.vaults().await.unwrap();
    assert_eq!(vaults.len(), 2);
    assert_eq!(&*vaults[0].id, VAULT);
    assert_eq!(&*vaults[0].name, "services");
    assert_eq!((vaults[0].content_version, vaults[0].items), (Some(42), Some(2)));
    assert_eq!((vaults[1].content_version, vaults[1].items), (None, None));

    let heads = server.heads();
    assert_eq!(heads.len(), 1);
    let head = &heads[0];
    assert!(head.starts_with("GET /v1/vaults HTTP/1.1\r\n"), "{head}");
    assert!(head.contains(&format!("authorization: Bearer {TOKEN}\r\n")));
    let agent = concat!("user-agent: portcullis/", env!("CARGO_PKG_VERSION"), "\r\n");
    assert!(head.contains(agent), "{head}");
}

#[tokio::test]
async fn items_are_listed_and_belong_to_the_vault() {
    let row = |id: &str, vault: &str, state: &str| {
        format!(r#"{{"id":"{id}","title":"orders","vault":{{"id":"{vault}"}},"version":3{state}}}"#)
    };
    let active = row(ITEM, VAULT, "");
    let archived = row(OTHER, VAULT, r#","state":"ARCHIVED""#);
    let server = Server::start(json("200 OK", &format!("[{active},{archived}]"))).await;
    let items = client(config(&server.origin)).items(VAULT).await.unwrap().1;
    let states: Vec<_> = items.iter().map(|item| item.state).collect();
    assert_eq!(states, [State::Active, State::Archived]);
    assert_eq!((&*items[0].title, items[0].version), ("orders", 3));
    assert!(server.heads()[0].starts_with(&format!("GET /v1/vaults/{VAULT}/items HTTP/1.1\r\n")));

    let mixed = format!("[{active},{}]", row(OTHER, OTHER, ""));
    let server = Server::start(json("200 OK", &mixed)).await;
    let error = client(config(&server.origin)).items(VAULT).await.unwrap_err();
    assert_eq!(error.failure(), Failure::WrongItem);
}

#[tokio::test]
async fn a_list_that_has_something_in_it_twice_is_not_believed() {
    let item = |id: &str, title: &str| {
        format!(r#"{{"id":"{id}","title":"{title}","vault":{{"id":"{VAULT}"}},"version":3}}"#)
    };
    let vault = |id: &str, name: &str| format!(r#"{{"id":"{id}","name":"{name}"}}"#);
    // Alike, or under another name.
    for second in ["orders", "payments"] {
        let items = [item(ITEM, "orders"), item(OTHER, "others"), item(ITEM, second)].join(",");
        let server = Server::start(json("200 OK", &format!("[{items}]"))).await;
        let error = client(config(&server.origin)).items(VAULT).await.unwrap_err();
        assert_eq!((error.failure(), error.class()), (Failure::Repeated, Class::Invalid));
        assert_eq!(server.heads().len(), 1, "it would be the same again");

        let vaults = [vault(VAULT, "orders"), vault(OTHER, "others"), vault(VAULT, second)];
        let server = Server::start(json("200 OK", &format!("[{}]", vaults.join(",")))).await;
        let error = client(config(&server.origin)).vaults().await.unwrap_err();
        assert_eq!((error.failure(), error.class()), (Failure::Repeated, Class::Invalid));
    }
}

#[tokio::test]
async fn an_item_comes_with_its_values_and_nothing_else() {
    let server = Server::start(json("200 OK", &item_body(ITEM, VAULT, "orders", ""))).await;
    let client = client(config(&server.origin));
    let item = client.fetch_item(&identity("orders")).await.unwrap();
    let path = format!("GET /v1/vaults/{VAULT}/items/{ITEM} HTTP/1.1\r\n");
    assert!(server.heads()[0].starts_with(&path));
    assert_eq!((item.version, item.sections.len(), item.fields.len()), (3, 2, 4));
    assert_eq!(item.sections[0].label.as_deref(), Some("Admin"));
    assert_eq!(item.fields[0].purpose.as_deref(), Some("USERNAME"));
    let password = &item.fields[1];
    assert_eq!(password.section_id.as_deref(), Some("s1"));
    let value = password.value.as_ref().unwrap();
    assert_eq!(value.expose(), format!("{CANARY}\u{e9}\n"));
    assert!(item.fields[2].is_one_time_password() && item.fields[2].value.is_none());
    assert!(item.fields[3].value.is_none());
    let website = &item.urls[0];
    assert_eq!((website.label.as_deref(), website.primary), (Some("site"), true));
    assert_eq!(website.href.as_ref().unwrap().expose(), format!("https://{CANARY}"));
    let file = &item.files[0];
    assert_eq!((&*file.id, &*file.name, file.size), ("file1", "ca.pem", Some(7)));
    assert_eq!(file.section_id.as_deref(), Some("s1"));
    assert!(item.files[1].name.is_empty() && item.files[1].size.is_none());
    let content = FileContent::from(zeroize::Zeroizing::new(CANARY.as_bytes().to_vec()));
    assert_eq!(content.expose(), CANARY.as_bytes());
    let text = format!("{item:?}{item:#?}{value:?}{content:?}");
    assert!(text.contains("REDACTED") && text.contains("username"));
    assert!(!text.contains(CANARY), "{text}");
}

#[tokio::test]
async fn a_body_beyond_the_limit_is_not_read() {
    let long = format!("[{}]", " ".repeat(9000));
    let chunked = Reply::Raw(format!(
        "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ntransfer-encoding: chunked\r\n\r\n{:x}\r\n{long}\r\n0\r\n\r\n",
        long.len()
    ));
    for reply in [json("200 OK", &long), chunked] {
        let error = vaults_error(reply.clone()).await;
        assert_eq!((error.failure(), error.class()), (Failure::TooLarge(8192), Class::Invalid));
        let error = item_error(reply).await;
        assert_eq!((error.failure(), error.class()), (Failure::TooLarge(4096), Class::Invalid));
    }
    let just = format!("[{}]", " ".repeat(8190));
    let server = Server::start(json("200 OK", &just)).await;
    assert!(client(config(&server.origin)).vaults().await.unwrap().is_empty());
}

#[tokio::test]
async fn a_list_is_bounded_by_its_entries_too() {
    let vault = |number: usize, pad: usize| {
        let pad = "x".repeat(pad);
        format!(r#"{{"id":"vault{number:021}","name":"services","description":"{pad}"}}"#)
    };
    let list = |count: usize, pad: usize| {
        let vaults: Vec<String> = (0..count).map(|number| vault(number, pad)).collect();
        format!("[{}]", vaults.join(","))
    };
    let server = Server::start(json("200 OK", &list(10, 100))).await;
    assert_eq!(client(config(&server.origin)).vaults().await.unwrap().len(), 10);
    for (body, failure) in
        [(list(11, 100), Failure::TooMany(10)), (list(1, 4096), Failure::EntryTooLarge(4096))]
    {
        let error = vaults_error(json("200 OK", &body)).await;
        assert_eq!((error.failure(), error.class()), (failure, Class::Invalid));
    }
}

#[tokio::test]
async fn a_long_list_is_read_in_pieces() {
    let row = |number: usize| {
        format!(
            r#"{{"id":"item{number:022}","title":"a \"]}} {number}","vault":{{"id":"{VAULT}"}},"version":{number}}}"#
        )
    };
    let rows: Vec<String> = (0..20_000).map(row).collect();
    let server = Server::start(json("200 OK", &format!(" [{}]\n", rows.join(" ,\n")))).await;
    let mut config = config(&server.origin);
    config.list_limits = ListLimits { body: 64 << 20, entry: 256, entries: 20_000 };
    let items = client(config).items(VAULT).await.unwrap().1;
    assert_eq!(items.len(), 20_000);
    let last = items.last().unwrap();
    assert_eq!((&*last.title, last.version), ("a \"]} 19999", 19_999));
    assert!(items.iter().all(|item| Arc::ptr_eq(&item.vault_id, &items[0].vault_id)));
}

#[tokio::test]
async fn one_vault_can_be_asked_for() {
    let vault = |id: &str| format!(r#"{{"id":"{id}","name":"services","contentVersion":7}}"#);
    let server = Server::start(json("200 OK", &vault(VAULT))).await;
    let found = client(config(&server.origin)).vault(VAULT).await.unwrap();
    assert_eq!((&*found.name, found.content_version), ("services", Some(7)));
    assert_eq!(server.paths(), [format!("/v1/vaults/{VAULT}")]);

    let server = Server::start(json("200 OK", &vault(OTHER))).await;
    let error = client(config(&server.origin)).vault(VAULT).await.unwrap_err();
    assert_eq!((error.failure(), error.class()), (Failure::WrongItem, Class::Invalid));
    let server = Server::start(json("404 X", &error_body(404))).await;
    let error = client(config(&server.origin)).vault(VAULT).await.unwrap_err();
    assert_eq!((error.class(), error.reason()), (Class::NotFound, Reason::VaultNotFound));
    assert_silent(&error);
}

#[tokio::test]
async fn health_is_what_the_server_says_and_takes_no_permit() {
    let body = r#"{"name":"1Password Connect API","version":"1.8.1","dependencies":[
        {"service":"sqlite","status":"ACTIVE","message":"Connected"},
        {"service":"sync","status":"TOKEN_NEEDED"}]}"#;
    let server = Server::answering(move |path, _| match path {
        "/health" => json("200 OK", body),
        _ => Reply::Stall(""),
    })
    .await;
    let client = client(config(&server.origin));
    let calls = futures::future::join_all((0..2).map(|_| client.vaults()));
    let look = async {
        until(|| client.available_permits() == 0).await;
        let health = client.health().await.unwrap();
        assert_eq!((health.version.as_str(), health.is_ready()), ("1.8.1", false));
        assert_eq!(health.obstacle().unwrap().service, "sync");
    };
    tokio::select! {
        _ = calls => panic!("a hung call ended"),
        () = look => {}
    }
}

#[tokio::test]
async fn calls_beyond_the_limit_wait() {
    let server = Server::start(Reply::Stall("")).await;
    let mut config = config(&server.origin);
    config.call_timeout = Duration::from_millis(400);
    let client = client(config);
    let calls = futures::future::join_all((0..5).map(|_| client.vaults()));
    let look = async {
        until(|| server.heads().len() == 2).await;
        assert_eq!((server.heads().len(), client.available_permits()), (2, 0));
    };
    let (results, ()) = tokio::join!(calls, look);
    assert!(results.iter().all(Result::is_err));
    assert_eq!((server.heads().len(), client.available_permits()), (5, 2));
}

#[tokio::test]
async fn another_item_is_an_error() {
    for (id, vault) in [(OTHER, VAULT), (ITEM, OTHER)] {
        let error = item_error(json("200 OK", &item_body(id, vault, "orders", ""))).await;
        assert_eq!(error.failure(), Failure::WrongItem);
        assert_eq!((error.class(), error.reason()), (Class::Invalid, Reason::InvalidResponse));
        assert_silent(&error);
    }
}

#[tokio::test]
async fn a_renamed_item_is_not_given_out() {
    for title in ["Orders", "orders ", CANARY] {
        let error = item_error(json("200 OK", &item_body(ITEM, VAULT, title, ""))).await;
        assert_eq!((error.failure(), error.class()), (Failure::Moved, Class::Moved));
        assert_silent(&error);
    }
}

#[tokio::test]
async fn an_archived_or_deleted_item_is_not_found() {
    for state in ["ARCHIVED", "DELETED"] {
        let state = format!(r#""state":"{state}","#);
        let error = item_error(json("200 OK", &item_body(ITEM, VAULT, "orders", &state))).await;
        assert_eq!((error.failure(), error.class()), (Failure::NotFound, Class::NotFound));
        assert_eq!(error.reason(), Reason::ItemNotFound);
    }
    let novel = item_body(ITEM, VAULT, "orders", r#""state":"NOVEL","#);
    let server = Server::start(json("200 OK", &novel)).await;
    let client = client(config(&server.origin));
    let item = client.fetch_item(&identity("orders")).await.unwrap();
    assert_eq!(item.state, State::Active);
}

#[tokio::test]
async fn what_is_no_id_is_not_sent() {
    let server = Server::start(json("200 OK", "[]")).await;
    let client = client(config(&server.origin));
    for id in ["", "short", "../../../../../health?x=abc", "vaultaaaaaaaaaaaaaaaaaaaa/", CANARY] {
        let error = client.vault(id).await.unwrap_err();
        assert_eq!((error.failure(), error.class()), (Failure::BadId, Class::Invalid));
        assert_silent(&error);
        let error = client.items(id).await.unwrap_err();
        assert_eq!((error.failure(), error.class()), (Failure::BadId, Class::Invalid));
        assert_silent(&error);
        let wrong = ItemIdentity { item_id: id.into(), ..identity("orders") };
        let error = client.fetch_item(&wrong).await.unwrap_err();
        assert_eq!(error.failure(), Failure::BadId);
    }
    assert!(server.heads().is_empty());
}
