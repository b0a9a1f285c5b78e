use std::time::Duration;

use proptest::prelude::*;
use zeroize::Zeroizing;

use super::bind::{Binding, open, seal};
use super::store::{Entry, Store};
use super::*;
use crate::connect::{Field, State, Value};

const CANARY: &str = "canary-value";

fn keyring(bytes: &[u8]) -> Keyring {
    let entries = bytes.iter().enumerate();
    Keyring::new(entries.map(|(n, b)| (format!("key-{n}"), Zeroizing::new(vec![*b; 32])))).unwrap()
}

fn origin(server: &str, token: u8) -> Origin {
    Origin { server: server.into(), connection: [token; 32] }
}

fn plain() -> Zeroizing<Vec<u8>> {
    Zeroizing::new(CANARY.as_bytes().to_vec())
}

const BINDING: Binding<'static> = Binding {
    vault: "v",
    item: "i",
    part: &Part::Fields,
    version: 3,
    class: "services",
    fetched_at: 1_700_000_000_000,
};

#[test]
fn a_value_opens_for_just_what_it_was_sealed_for() {
    let (ring, home) = (keyring(&[1]), origin("default", 1));
    let sealed = seal(&ring, &home, &BINDING, plain()).unwrap();
    assert_eq!(*open(&ring, &home, &BINDING, &sealed).unwrap(), CANARY.as_bytes());
    for elsewhere in [origin("other", 1), origin("default", 2)] {
        assert!(open(&ring, &elsewhere, &BINDING, &sealed).is_none());
    }
    let file = Part::File("i".into());
    for other in [
        Binding { vault: "w", ..BINDING },
        Binding { item: "j", ..BINDING },
        Binding { part: &file, ..BINDING },
        Binding { version: 4, ..BINDING },
        Binding { class: "infrastructure", ..BINDING },
        Binding { fetched_at: BINDING.fetched_at + 1, ..BINDING },
    ] {
        assert!(open(&ring, &home, &other, &sealed).is_none(), "{other:?}");
    }
}

#[test]
fn the_newest_key_seals_and_older_ones_open() {
    let (old, home) = (keyring(&[1]), origin("default", 1));
    let sealed = seal(&old, &home, &BINDING, plain()).unwrap();
    let both = keyring(&[1, 2]);
    assert!(open(&both, &home, &BINDING, &sealed).is_some());
    let sealed = seal(&both, &home, &BINDING, plain()).unwrap();
    assert!(open(&old, &home, &BINDING, &sealed).is_none());
    assert!(open(&keyring(&[2]), &home, &BINDING, &sealed).is_some());
}

#[test]
fn no_key_that_could_be_guessed_is_taken() {
    let short = [("a".to_owned(), Zeroizing::new(vec![1; 31]))];
    assert_eq!(Keyring::new(short).unwrap_err(), KeyringError::TooShort("a".to_owned()));
    assert_eq!(Keyring::new([]).unwrap_err(), KeyringError::Empty);
}

#[test]
fn equal_values_are_sealed_to_different_bytes() {
    let (ring, home) = (keyring(&[1]), origin("default", 1));
    let bytes = |s: bind::Sealed| postcard::to_allocvec(&s).unwrap();
    let one = bytes(seal(&ring, &home, &BINDING, plain()).unwrap());
    let other = bytes(seal(&ring, &home, &BINDING, plain()).unwrap());
    assert_ne!(one, other);
    assert!(!one.windows(CANARY.len()).any(|w| w == CANARY.as_bytes()));
}

fn identity(item: &str) -> ItemIdentity {
    ItemIdentity {
        vault_id: "v".into(),
        item_id: item.into(),
        vault_name: "services".into(),
        title: "orders".into(),
    }
}

fn item(id: &str, version: i64) -> Item {
    Item {
        id: id.into(),
        title: "orders".into(),
        vault_id: "v".into(),
        version,
        state: State::Active,
        sections: Vec::new(),
        fields: vec![Field {
            id: "password".to_owned(),
            label: Some("password".to_owned()),
            type_: "CONCEALED".to_owned(),
            purpose: Some("PASSWORD".to_owned()),
            value: Some(Value::from(format!("{CANARY}-{version}"))),
            section_id: None,
        }],
        files: Vec::new(),
        urls: Vec::new(),
    }
}

fn class(ttl: u64, max_staleness: u64) -> Class {
    Class {
        name: "services".into(),
        ttl: Some(Duration::from_secs(ttl)),
        max_staleness: Duration::from_secs(max_staleness),
        keep: Duration::from_secs(max_staleness),
    }
}

fn put(scope: &Scope, id: &str, version: i64, class: &Class, namespace: &str) {
    let plain = wire::encode(&item(id, version)).unwrap();
    scope.put(&identity(id), &Part::Fields, version, plain, class, &namespace.into());
}

fn look(scope: &Scope, id: &str, version: i64, class: &Class) -> &'static str {
    let found = scope.get(&identity(id), &Part::Fields, version, class);
    match found.and_then(|bytes| wire::decode(&identity(id), bytes)) {
        Lookup::Fresh(..) => "fresh",
        Lookup::Stale(..) => "stale",
        Lookup::Missing => "missing",
    }
}

#[tokio::test(start_paused = true)]
async fn a_value_is_fresh_without_a_word_for_its_time_then_stale_then_wiped() {
    let cache = Cache::new(keyring(&[1]), 1 << 20);
    let scope = cache.scope(origin("default", 1));
    let class = class(60, 600);
    put(&scope, "i", 1, &class, "shop");
    assert_eq!(look(&scope, "i", 1, &class), "fresh");
    tokio::time::advance(Duration::from_secs(61)).await;
    assert_eq!(look(&scope, "i", 1, &class), "stale");
    // A vault that stands still confirms what is kept of it.
    assert_eq!(scope.confirm(&"v".into(), Instant::now()), 1);
    assert_eq!(look(&scope, "i", 1, &class), "fresh");
    tokio::time::advance(Duration::from_secs(590)).await;
    cache.sweep(Duration::from_secs(60));
    assert_eq!(look(&scope, "i", 1, &class), "stale");
    tokio::time::advance(Duration::from_secs(20)).await;
    cache.sweep(Duration::from_secs(60));
    assert_eq!(cache.figures().len(), 0, "wiped when due, though nobody asked");
}

#[tokio::test(start_paused = true)]
async fn a_day_of_polls_of_a_vault_that_stands_still_keeps_every_value_fresh() {
    let cache = Cache::new(keyring(&[1]), 1 << 20);
    let scope = cache.scope(origin("default", 1));
    let class = class(15 * 60, 24 * 3600);
    put(&scope, "i", 1, &class, "shop");
    for _ in 0..2880 {
        tokio::time::advance(Duration::from_secs(30)).await;
        scope.confirm(&"v".into(), Instant::now());
        cache.sweep(Duration::from_secs(60));
        assert_eq!(look(&scope, "i", 1, &class), "fresh");
    }
}

#[tokio::test(start_paused = true)]
async fn what_the_list_has_in_another_version_or_not_at_all_does_not_serve() {
    let cache = Cache::new(keyring(&[1]), 1 << 20);
    let scope = cache.scope(origin("default", 1));
    let class = class(60, 600);
    let vault: Arc<str> = "v".into();
    for id in ["same", "moved", "gone"] {
        put(&scope, id, 1, &class, "shop");
    }
    scope.listed(&vault, [("same", 1), ("moved", 2)].into_iter(), Instant::now());
    assert_eq!(look(&scope, "same", 1, &class), "fresh");
    assert_eq!(look(&scope, "moved", 1, &class), "missing");
    assert_eq!(look(&scope, "gone", 1, &class), "missing");
    // It comes back: a list may lag.
    scope.listed(&vault, [("same", 1), ("gone", 1)].into_iter(), Instant::now());
    assert_eq!(look(&scope, "gone", 1, &class), "fresh");
    // It stays away.
    scope.listed(&vault, [("same", 1)].into_iter(), Instant::now());
    tokio::time::advance(Duration::from_secs(31)).await;
    cache.sweep(Duration::from_secs(30));
    scope.listed(&vault, [("same", 1), ("gone", 1)].into_iter(), Instant::now());
    assert_eq!(look(&scope, "gone", 1, &class), "missing");
}

#[tokio::test(start_paused = true)]
async fn a_later_version_serves_and_an_earlier_one_does_not() {
    let cache = Cache::new(keyring(&[1]), 1 << 20);
    let scope = cache.scope(origin("default", 1));
    let class = class(60, 600);
    put(&scope, "i", 2, &class, "shop");
    assert_eq!(look(&scope, "i", 1, &class), "fresh");
    assert_eq!(look(&scope, "i", 3, &class), "missing");
    put(&scope, "i", 1, &class, "shop");
    assert_eq!(look(&scope, "i", 2, &class), "fresh", "an older version takes no place");
}

#[tokio::test(start_paused = true)]
async fn a_class_that_is_never_kept_and_another_class_find_nothing() {
    let cache = Cache::new(keyring(&[1]), 1 << 20);
    let scope = cache.scope(origin("default", 1));
    let class = class(60, 600);
    put(&scope, "i", 1, &class, "shop");
    let never = Class { ttl: None, ..class.clone() };
    assert_eq!(look(&scope, "i", 1, &never), "missing");
    let other = Class { name: "emergency".into(), ..class };
    assert_eq!(look(&scope, "i", 1, &other), "missing");
}

#[tokio::test(start_paused = true)]
async fn another_scope_and_another_title_meet_nothing_and_a_dropped_scope_leaves_nothing() {
    let cache = Cache::new(keyring(&[1]), 1 << 20);
    let (one, other) = (cache.scope(origin("default", 1)), cache.scope(origin("default", 2)));
    let class = class(60, 600);
    put(&one, "i", 1, &class, "shop");
    assert_eq!(look(&other, "i", 1, &class), "missing");
    let renamed = ItemIdentity { title: "renamed".into(), ..identity("i") };
    let found = one.get(&renamed, &Part::Fields, 1, &class);
    assert!(matches!(found.and_then(|b| wire::decode(&renamed, b)), Lookup::Missing));
    drop(one);
    assert_eq!(cache.figures().len(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_namespace_that_fetches_much_pushes_out_its_own_values() {
    let cache = Cache::new(keyring(&[1]), 40 << 10);
    let scope = cache.scope(origin("default", 1));
    let class = class(60, 600);
    for n in 0..10 {
        put(&scope, &format!("quiet-{n}"), 1, &class, "quiet");
    }
    for n in 0..1000 {
        put(&scope, &format!("noisy-{n}"), 1, &class, "noisy");
    }
    for n in 0..10 {
        assert_eq!(look(&scope, &format!("quiet-{n}"), 1, &class), "fresh", "{n}");
    }
    assert_eq!(look(&scope, "noisy-999", 1, &class), "fresh");
    assert_eq!(look(&scope, "noisy-0", 1, &class), "missing");
    assert!(cache.evicted() > 800);
}

#[tokio::test(start_paused = true)]
async fn a_value_is_charged_to_whoever_had_it_fetched_last_and_to_nobody_who_only_uses_it() {
    let cache = Cache::new(keyring(&[1]), 40 << 10);
    let scope = cache.scope(origin("default", 1));
    let class = class(60, 600);
    put(&scope, "shared", 1, &class, "quiet");
    for n in 0..1000 {
        // It is used all the while, by others as well, and is the quiet one's: the noisy ones pay for their own.
        assert_eq!(look(&scope, "shared", 1, &class), "fresh", "{n}");
        put(&scope, &format!("noisy-{n}"), 1, &class, "noisy");
    }
    // The noisy one has it fetched in another version: from now on it goes as its others go, oldest use first.
    put(&scope, "shared", 2, &class, "noisy");
    for n in 1000..2000 {
        put(&scope, &format!("noisy-{n}"), 1, &class, "noisy");
    }
    assert_eq!(look(&scope, "shared", 2, &class), "missing");
}

#[tokio::test(start_paused = true)]
async fn a_value_stays_for_as_long_as_the_last_who_had_it_fetched_may_keep_it() {
    let cache = Cache::new(keyring(&[1]), 1 << 20);
    let scope = cache.scope(origin("default", 1));
    // One who asks bears nothing, which is no reason not to keep it for one who bears more.
    let (short, long) = (Class { max_staleness: Duration::ZERO, ..class(60, 600) }, class(60, 600));
    put(&scope, "i", 1, &short, "shop");
    tokio::time::advance(Duration::from_secs(590)).await;
    cache.sweep(Duration::from_secs(60));
    assert_eq!(look(&scope, "i", 1, &short), "missing");
    assert_eq!(look(&scope, "i", 1, &long), "stale");
    tokio::time::advance(Duration::from_secs(11)).await;
    cache.sweep(Duration::from_secs(60));
    assert_eq!(look(&scope, "i", 1, &long), "missing");
}

#[tokio::test(start_paused = true)]
async fn what_may_be_kept_less_long_from_now_on_goes_as_early() {
    let cache = Cache::new(keyring(&[1]), 1 << 20);
    let scope = cache.scope(origin("default", 1));
    put(&scope, "i", 1, &class(60, 600), "shop");
    let vault: Arc<str> = "v".into();
    let shorter = Class { keep: Duration::from_secs(100), ..class(60, 100) };
    scope.reclass(&vault, &shorter);
    tokio::time::advance(Duration::from_secs(99)).await;
    cache.sweep(Duration::from_secs(60));
    assert!(scope.holds_some(&vault));
    tokio::time::advance(Duration::from_secs(2)).await;
    cache.sweep(Duration::from_secs(60));
    assert!(!scope.holds_some(&vault));
    put(&scope, "i", 1, &class(60, 600), "shop");
    scope.reclass(&vault, &Class { ttl: None, ..shorter });
    assert!(!scope.holds_some(&vault), "a class that keeps nothing");
}

#[tokio::test(start_paused = true)]
async fn values_of_an_earlier_key_are_under_the_newest_one_once_they_were_read() {
    let class = class(60, 600);
    let before = Cache::new(keyring(&[1]), 1 << 20).scope(origin("default", 1));
    put(&before, "i", 1, &class, "shop");
    let between = Cache::new(keyring(&[1, 2]), 1 << 20).scope(origin("default", 1));
    let read = between.import(&"v".into(), &record(&before, 4), 4).unwrap();
    assert_eq!((read.values, read.sealed_by), (1, SealedBy::Older));
    let after = Cache::new(keyring(&[2]), 1 << 20).scope(origin("default", 1));
    let read = after.import(&"v".into(), &record(&between, 5), 5).unwrap();
    assert_eq!((read.values, read.sealed_by), (1, SealedBy::Newest));
    assert_eq!(look(&after, "i", 1, &class), "fresh");
}

fn listed(items: &[(&str, &str, i64)]) -> Vec<Listed> {
    let all = items.iter();
    all.map(|(id, title, version)| Listed {
        id: (*id).into(),
        title: (*title).into(),
        version: *version,
        category: "LOGIN".into(),
    })
    .collect()
}

fn record(scope: &Scope, epoch: i64) -> Vec<u8> {
    let items = listed(&[("i", "orders", 1), ("j", "Orders", 1), ("k", "other", 1), ("l", "i", 1)]);
    let vault: Arc<str> = "v".into();
    let name: Arc<str> = "services".into();
    let names = Names { vault: name, content_version: Some(7), namesakes: Vec::new() };
    scope.export(&vault, names, items.into_iter(), epoch).unwrap().1
}

#[tokio::test(start_paused = true)]
async fn a_record_brings_values_and_the_names_that_could_mean_them_over_a_restart() {
    let class = class(60, 600);
    let before = Cache::new(keyring(&[1]), 1 << 20).scope(origin("default", 1));
    put(&before, "i", 1, &class, "shop");
    let bytes = record(&before, 4);
    assert!(!bytes.windows(6).any(|w| w == b"orders"), "names are sealed, too");

    let after = Cache::new(keyring(&[1, 2]), 1 << 20).scope(origin("default", 1));
    let read = after.import(&"v".into(), &bytes, 4).unwrap();
    assert_eq!((read.epoch, read.content_version, read.values), (4, Some(7), 1));
    assert_eq!(&*read.name, "services");
    assert_eq!(read.items, listed(&[("i", "orders", 1), ("j", "Orders", 1), ("l", "i", 1)]));
    assert_eq!(look(&after, "i", 1, &class), "fresh");
}

#[tokio::test(start_paused = true)]
async fn a_record_that_is_not_the_last_one_for_just_this_is_not_used() {
    let class = class(60, 600);
    let before = Cache::new(keyring(&[1]), 1 << 20).scope(origin("default", 1));
    put(&before, "i", 1, &class, "shop");
    let bytes = record(&before, 4);
    let import = |ring: &[u8], from: Origin, vault: &str, bytes: &[u8], floor| {
        let scope = Cache::new(keyring(ring), 1 << 20).scope(from);
        let error = scope.import(&vault.into(), bytes, floor).unwrap_err();
        assert_eq!(look(&scope, "i", 1, &class), "missing");
        error
    };
    let home = || origin("default", 1);
    assert_eq!(import(&[1], home(), "v", &bytes, 5), RecordError::RolledBack);
    assert_eq!(import(&[1], home(), "w", &bytes, 0), RecordError::Foreign);
    assert_eq!(import(&[1], origin("other", 1), "v", &bytes, 0), RecordError::Foreign);
    assert_eq!(import(&[1], origin("default", 2), "v", &bytes, 0), RecordError::Foreign);
    assert_eq!(import(&[3], home(), "v", &bytes, 0), RecordError::UnknownKey);
    assert_eq!(import(&[1], home(), "v", &bytes[..bytes.len() / 2], 0), RecordError::Foreign);
    assert_eq!(import(&[1], home(), "v", b"", 0), RecordError::Foreign);
    for at in [20, bytes.len() / 2, bytes.len() - 1] {
        let mut forged = bytes.clone();
        forged[at] ^= 1;
        assert_eq!(import(&[1], home(), "v", &forged, 0), RecordError::Foreign, "byte {at}");
    }
}

#[test]
fn debug_output_shows_neither_key_nor_value() {
    let cache = Cache::new(keyring(&[7]), 1 << 20);
    let scope = cache.scope(origin("default", 1));
    put(&scope, "i", 1, &class(60, 600), "shop");
    let lookup = scope.get(&identity("i"), &Part::Fields, 1, &class(60, 600));
    let item = lookup.and_then(|b| wire::decode(&identity("i"), b));
    let text = format!("{cache:?} {scope:?} {item:?}");
    assert!(!text.contains(CANARY) && !text.contains("7, 7"), "{text}");
}

#[tokio::test(start_paused = true)]
async fn a_list_of_lower_versions_drops_what_was_there_before_it_and_not_what_came_meanwhile() {
    let cache = Cache::new(keyring(&[1]), 1 << 20);
    let scope = cache.scope(origin("default", 1));
    let class = class(60, 600);
    put(&scope, "before", 2, &class, "shop");
    tokio::time::advance(Duration::from_secs(1)).await;
    let asked = Instant::now();
    tokio::time::advance(Duration::from_secs(1)).await;
    put(&scope, "meanwhile", 2, &class, "shop");
    scope.listed(&"v".into(), [("before", 1), ("meanwhile", 1)].into_iter(), asked);
    assert_eq!(look(&scope, "before", 1, &class), "missing");
    assert_eq!(look(&scope, "meanwhile", 1, &class), "fresh");
}

fn entry(size: usize, namespace: &str) -> Entry {
    let ring = keyring(&[1]);
    let sealed = seal(&ring, &origin("s", 1), &BINDING, Zeroizing::new(vec![0; size])).unwrap();
    let keep = Duration::from_secs(60);
    Entry::new(sealed, 1, (&"c".into(), keep), 0, &namespace.into(), Duration::ZERO)
}

proptest! {
    #[test]
    fn the_bytes_never_exceed_the_limit_and_are_counted_right(
        puts in prop::collection::vec((0..8_usize, 0..4_usize, 0..3000_usize), 1..60),
    ) {
        let mut store = Store::new(8192);
        for (item, namespace, size) in puts {
            let id: Arc<str> = format!("i{item}").into();
            let vault = (0, Arc::from("v"));
            store.put(&vault, &id, &Part::Fields, entry(size, &format!("n{namespace}")));
            prop_assert!(store.bytes() <= 8192);
            let counted: usize = store.figures().values().map(|f| f.bytes).sum();
            prop_assert_eq!(counted, store.bytes());
        }
        store.forget_scope(0);
        prop_assert_eq!(store.bytes(), 0);
    }
}
