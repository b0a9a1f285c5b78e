//! What needs no server.

use super::*;

#[test]
fn a_configuration_that_cannot_work_is_refused() {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let built = |change: fn(&mut ClientConfig)| {
        let mut config = config("https://connect.internal:8443");
        change(&mut config);
        Client::new(config).err()
    };
    assert_eq!(built(|c| c.concurrency = 0), None);
    for change in [
        (|c| c.hosts = vec!["connect.internal".into()]) as fn(&mut ClientConfig),
        |c| c.hosts = vec!["ftp://connect.internal".into()],
        |c| c.hosts = vec!["https://connect.internal/v1".into()],
        |c| c.hosts = vec!["https://user:canary@connect.internal".into()],
        |c| c.hosts = vec!["https://connect.internal?x=1".into()],
        |c| c.hosts = vec![String::new()],
        |c| c.hosts.clear(),
        |c| c.hosts.push("connect.internal".into()),
    ] {
        assert_eq!(built(change), Some(BuildError::Host));
    }
    assert_eq!(built(|c| c.token = " \n".into()), Some(BuildError::Token));
    assert_eq!(built(|c| c.token = "a\nb".into()), Some(BuildError::Token));
    for change in [
        (|c| c.ca_pem = Some(Vec::new())) as fn(&mut ClientConfig),
        |c| c.ca_pem = Some(b"no certificate".to_vec()),
        |c| {
            c.ca_pem =
                Some(b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n".to_vec());
        },
        |c| {
            c.ca_pem =
                Some(b"-----BEGIN CERTIFICATE-----\n!\n-----END CERTIFICATE-----\n".to_vec());
        },
    ] {
        assert_eq!(built(change), Some(BuildError::Ca));
    }
}

#[test]
fn neither_client_nor_configuration_shows_the_token() {
    let config = config("https://connect.internal");
    let sent = config::headers(TOKEN).unwrap();
    let text = format!("{config:?}{config:#?}{sent:?}");
    let client = client(config);
    let text = format!("{text}{client:?}{client:#?}");
    assert!(text.contains("connect.internal"));
    assert!(!text.contains(TOKEN), "{text}");
}

#[test]
fn a_name_is_kept_within_bounds_and_never_cut_to_another_name() {
    let vault = |name: &str| -> Vault {
        body::parse(format!(r#"{{"id":"{VAULT}","name":"{name}"}}"#).as_bytes()).unwrap()
    };
    let fits = "é".repeat(MAX_NAME / 2);
    assert_eq!(&*vault(&fits).name, fits);
    for long in ["é".repeat(MAX_NAME), format!("x{}", "😀".repeat(MAX_NAME))] {
        let name = vault(&long).name;
        assert!(name.len() > MAX_NAME && name.len() <= MAX_NAME + 6 && name.ends_with('…'));
    }
}

#[test]
fn an_item_may_leave_out_what_it_need_not_have() {
    let bare = format!(
        r#"{{"id":"{ITEM}","vault":{{"id":"{VAULT}"}},"version":1,"state":null,"fields":null,"files":null,"urls":[{{"label":null,"primary":null,"href":null}}]}}"#
    );
    let item: Item = body::parse(bare.as_bytes()).unwrap();
    assert!(item.title.is_empty() && item.fields.is_empty() && item.sections.is_empty());
    assert!(item.files.is_empty() && item.urls[0].href.is_none() && !item.urls[0].primary);
    for wrong in [
        format!(r#"{{"id":"{ITEM}","title":"x","version":1}}"#),
        format!(r#"{{"id":"{ITEM}","title":"x","vault":{{"id":"{VAULT}"}}}}"#),
        format!(r#"{{"id":"x","title":"x","vault":{{"id":"{VAULT}"}},"version":1}}"#),
    ] {
        assert_eq!(body::parse::<Item>(wrong.as_bytes()).unwrap_err(), Failure::NotConnect);
    }
    assert!(Value::from(String::new()).is_empty());
}
