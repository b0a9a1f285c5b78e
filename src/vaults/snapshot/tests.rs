use super::*;
use crate::api::{AccessRow, Namespaces, VaultSelector};
use crate::connect::{ItemSummary, State};
use crate::policy::NamespaceFacts;
use crate::reference::Wanted;

fn id(letter: char) -> Arc<str> {
    letter.to_string().repeat(26).into()
}

fn snapshot() -> Snapshot {
    let vault = |letter, name: &str| Vault {
        id: id(letter),
        name: name.into(),
        content_version: Some(1),
        items: None,
    };
    let item = |letter, title: &str, state| ItemSummary {
        id: id(letter),
        title: title.into(),
        vault_id: id('s'),
        version: 1,
        state,
        category: "LOGIN".into(),
    };
    let items = vec![
        item('a', "orders-db", State::Active),
        item('b', "twice", State::Active),
        item('c', "twice", State::Active),
        item('d', "gone", State::Archived),
        item('e', "Mixed", State::Active),
        item('f', &id('z'), State::Active),
    ];
    Snapshot::default()
        .polled(
            vec![vault('s', "services"), vault('i', "infra"), vault('t', "dup"), vault('u', "dup")],
            &Polled { held: &BTreeSet::new(), in_use: &|_| true },
        )
        .listed(&id('s'), Arc::new(Listing::new(Some(1), items)))
}

fn rows(vaults: &[&str], items: Option<&str>) -> Vec<AccessRow> {
    vec![AccessRow {
        name: "r".to_owned(),
        namespaces: Namespaces { all: Some(true), ..Namespaces::default() },
        vaults: vaults
            .iter()
            .map(|v| VaultSelector { name: Some((*v).to_owned()), id: None })
            .collect(),
        items: items.map(|i| vec![i.to_owned()]),
    }]
}

fn resolve(rows: &[AccessRow], vault: &str, item: &str) -> Result<String, Unresolved> {
    let access = Access::of(rows, &NamespaceFacts::default());
    let reference = Reference {
        vault: vault.to_owned(),
        item: item.to_owned(),
        section: None,
        field: "f".to_owned(),
        wanted: Wanted::Value,
    };
    snapshot().resolve(&reference, &access).map(|found| found.item.item_id.to_string())
}

#[test]
fn every_spelling_of_an_item_means_the_same_item() {
    let rows = rows(&["services"], None);
    for (vault, item) in [
        ("services", "orders-db"),
        ("SERVICES", "Orders-DB"),
        (&*id('s'), "orders-db"),
        (&*id('s'), &*id('a')),
    ] {
        assert_eq!(resolve(&rows, vault, item), Ok(id('a').to_string()), "{vault}/{item}");
    }
}

#[test]
fn outside_access_what_exists_and_what_does_not_are_alike() {
    let rows = rows(&["services"], Some("orders-*"));
    for (vault, item) in [
        ("infra", "x"),
        ("INFRA", "x"),
        (&*id('i'), "x"),
        ("no-such-vault", "x"),
        (&*id('n'), "x"),
        ("services", "twice"),
        ("services", "no-such-item"),
    ] {
        assert_eq!(resolve(&rows, vault, item), Err(Unresolved::NotAllowed), "{vault}/{item}");
    }
}

#[test]
fn ambiguity_is_an_error_that_names_ids_the_namespace_may_see() {
    let rows = rows(&["*"], None);
    assert_eq!(
        resolve(&rows, "services", "twice"),
        Err(Unresolved::AmbiguousItem {
            vault_id: id('s'),
            vault_name: "services".into(),
            ids: vec![id('b'), id('c')]
        })
    );
    assert_eq!(resolve(&rows, "dup", "x"), Err(Unresolved::AmbiguousVault(vec![id('t'), id('u')])));
    assert_eq!(resolve(&rows, "services", &id('b')), Ok(id('b').to_string()));
}

#[test]
fn archived_items_are_not_found_and_id_like_titles_are() {
    let rows = rows(&["services"], None);
    assert!(matches!(resolve(&rows, "services", "gone"), Err(Unresolved::ItemNotFound { .. })));
    assert_eq!(resolve(&rows, "services", &id('z')), Ok(id('f').to_string()));
}

#[test]
fn a_vault_that_nobody_needed_is_not_listed() {
    let rows = rows(&["*"], None);
    assert_eq!(resolve(&rows, "infra", "x"), Err(Unresolved::NotListed { vault_id: id('i') }));
}

#[test]
fn a_vault_that_a_poll_missed_comes_back_with_no_lower_version_unnoticed() {
    let vault = |version| Vault {
        id: id('s'),
        name: "services".into(),
        content_version: Some(version),
        items: None,
    };
    let how = Polled { held: &BTreeSet::new(), in_use: &|_| true };
    let missed = Snapshot::default().polled(vec![vault(5)], &how).polled(vec![], &how);
    assert_eq!(missed.lower_than_known(&[vault(3)]), BTreeSet::from([id('s')]));
    assert_eq!(missed.lower_than_known(&[vault(5)]), BTreeSet::new());
    let held = Polled { held: &BTreeSet::from([id('s')]), in_use: &|_| true };
    let back = missed.polled(vec![vault(3)], &held);
    assert_eq!(back.vault(&id('s')).unwrap().content_version, Some(5));
}

#[test]
fn what_moved_while_nobody_needed_it_is_listed_before_anybody_gets_it() {
    let vault = |version| Vault {
        id: id('s'),
        name: "services".into(),
        content_version: Some(version),
        items: None,
    };
    let held = BTreeSet::new();
    let poll = |snapshot: &Snapshot, version, used: bool| {
        snapshot.polled(vec![vault(version)], &Polled { held: &held, in_use: &|_| used })
    };
    let is_listed = |snapshot: &Snapshot| snapshot.vault(&id('s')).unwrap().listing.is_some();
    let known = snapshot();
    assert!(is_listed(&poll(&known, 1, false)), "it did not move");
    assert!(is_listed(&poll(&known, 2, true)), "it is listed again at once");
    assert!(!is_listed(&poll(&known, 2, false)));
    // Nor does what was kept over a restart stand once the server answers.
    let listing = Arc::new(Listing::part(Vec::new()));
    let kept = snapshot().listed(&id('s'), listing);
    assert!(!is_listed(&poll(&kept, 1, false)));
    // What is gone is told of, whoever needs it.
    let gone = known.polled(vec![], &Polled { held: &held, in_use: &|_| false });
    assert_eq!(gone.gone().map(|g| g.vault.id.clone()).collect::<Vec<_>>(), [id('s')]);
}
