//! What a decision was taken on comes back from its record as it was.

use std::collections::BTreeMap;
use std::ops::ControlFlow;

use proptest::prelude::*;

use super::*;
use crate::behavior::{Anomaly, Detector, History};
use crate::policy::{
    Circumstances, Facts, ItemIdentity, NamespaceFacts, Requester as Asker, ResolvedReference,
    ServiceFacts, Transient,
};
use crate::reference::Wanted;

fn reference(number: usize, texts: &[String; 4], known: Option<String>) -> ResolvedReference {
    let [key, title, field, class] = texts.clone();
    ResolvedReference {
        key,
        item: ItemIdentity {
            vault_id: "v".repeat(26).into(),
            item_id: format!("item-{}", number % 3).into(),
            vault_name: "a vault".into(),
            title: title.into(),
        },
        version: 7,
        environment: known.clone(),
        class,
        type_: known.clone().unwrap_or_default().into(),
        section: known,
        field,
        wanted: Wanted::default(),
    }
}

fn given() -> impl Strategy<Value = (Facts, Decision)> {
    let text = || "\\PC{0,12}|[a-z\\\\\"\u{1b}\u{202e}\n]{0,12}";
    let references =
        prop::collection::vec(([text(), text(), text(), text()], prop::option::of(text())), 0..6);
    let labels = prop::collection::btree_map(text(), text(), 0..4);
    let asked = prop::option::of((text(), any::<bool>()));
    let transient = prop::option::of((any::<i64>(), any::<bool>(), 0..Detector::ALL.len(), text()));
    (references, labels, asked, transient, prop::option::of(text()), any::<bool>()).prop_map(
        |(references, labels, asked, transient, optional, refreshes)| {
            facts_of(references, labels, asked, transient, optional, refreshes)
        },
    )
}

type References = Vec<([String; 4], Option<String>)>;

fn facts_of(
    references: References,
    labels: BTreeMap<String, String>,
    asked: Option<(String, bool)>,
    transient: Option<(i64, bool, usize, String)>,
    optional: Option<String>,
    refreshes: bool,
) -> (Facts, Decision) {
    let mut titles = BTreeMap::new();
    let references = references.into_iter().enumerate().map(|(number, (texts, known))| {
        let mut made = reference(number, &texts, known);
        // An item has one title.
        let title = titles.entry(made.item.item_id.clone()).or_insert(made.item.title.clone());
        made.item.title = title.clone();
        made
    });
    let facts = Facts {
        references: references.collect(),
        request: RequestFacts {
            claimed_environment: optional.clone(),
            claimed_consumer: optional.clone(),
            fallback_secret: optional,
            ..request("orders")
        },
        namespace: NamespaceFacts { name: "shop".to_owned(), labels },
        requester: asked.map(|(name, verified)| Asker { name, verified }),
    };
    let occasion = if refreshes { Occasion::Refresh } else { Occasion::Grant };
    let transient = transient.map(|(number, reachable, detector, message)| {
        Box::new(Transient {
            now: chrono::DateTime::from_timestamp(number.rem_euclid(4_000_000_000), 0).unwrap(),
            anomalies: vec![Anomaly { detector: Detector::ALL[detector], message }],
            history: History { new_items: number, ..History::default() },
            service: ServiceFacts { reachable, seconds_since_answer: number },
            lasts: Transient::LASTS,
        })
    });
    (facts, Decision { occasion, transient, ..decision(Outcome::Allowed) })
}

fn recorded(entry: &Entry<'_>) -> Record {
    let line = format!(
        r#"{{"stream":"s","sequence":1,"time":"1970-01-01T00:00:00Z",{}}}"#,
        super::super::fields(entry)
    );
    serde_json::from_str(&line).unwrap()
}

proptest! {
    #[test]
    fn the_grounds_of_a_decision_come_back_from_its_record((facts, decision) in given()) {
        let record = recorded(&Entry::decision(&facts.request, Some(&facts), &decision));
        let circumstances = Circumstances {
            occasion: decision.occasion,
            transient: decision.transient.clone().map(|transient| *transient),
        };
        let (found, weighed_by) = record.grounds().unwrap();
        prop_assert_eq!(found, facts);
        prop_assert_eq!(weighed_by, circumstances);
    }
}

#[test]
fn records_of_other_things_and_of_what_may_not_be_read_have_no_grounds() {
    let (facts, decision) = facts_of(Vec::new(), BTreeMap::new(), None, None, None, false);
    let entry = || Entry::decision(&facts.request, Some(&facts), &decision);
    let secret =
        SecretLine { name: "orders", uid: None, change: "write", source: None, token: None };
    assert!(recorded(&entry()).grounds().is_some());
    assert!(recorded(&entry().about(Kind::Intent, secret)).grounds().is_none());
    let outside = Entry::decision(&facts.request, None, &decision);
    assert!(recorded(&outside).grounds().is_none());
}

#[tokio::test]
async fn a_record_with_as_many_references_and_labels_as_there_may_be_can_be_read_back() {
    let long = || "k".repeat(253);
    let references =
        (0..256).map(|_| ([long(), long(), long(), long()], Some(long()))).collect::<Vec<_>>();
    let labels = (0..180).map(|n| (format!("{n}{}", long()), long())).collect();
    let (facts, decision) = facts_of(references, labels, None, None, None, false);
    let folder = Folder::new();
    let path = folder.file("audit.log");
    let audit = start(FileSink::new(options(path.clone())), OnFailure::Block, LIMITS);
    let entry = Entry::decision(&facts.request, Some(&facts), &decision);
    audit.record(&entry).await.unwrap().unwrap();
    audit.close().await;
    let mut found = 0;
    let skipped = each_record(&[path], |record, _| {
        found += record.grounds().map_or(0, |(facts, _)| facts.references.len());
        ControlFlow::Continue(())
    });
    assert_eq!((skipped.unwrap(), found), (0, 256));
}

#[test]
fn labels_that_would_burst_a_line_leave_a_record_without_grounds() {
    let labels = (0..400).map(|n| (format!("{n}{}", "k".repeat(253)), "v".repeat(63))).collect();
    let (facts, decision) = facts_of(Vec::new(), labels, None, None, None, false);
    let entry = Entry::decision(&facts.request, Some(&facts), &decision);
    assert!(recorded(&entry).grounds().is_none());
}

/// Whoever may write items of a vault chooses their titles.
#[tokio::test]
async fn the_longest_record_that_there_can_be_is_read_proven_and_gone_on_with() {
    let texts = ["\u{1}".repeat(253), "\u{1}".repeat(1_024), "\u{1}".repeat(256), "c".to_owned()];
    let long = |number| {
        let reference = reference(0, &texts, Some("\u{1}".repeat(256)));
        let vault_name = texts[1].as_str().into();
        let item_id = format!("{number:026}").into();
        let item = ItemIdentity { vault_name, item_id, ..reference.item.clone() };
        ResolvedReference { item, ..reference }
    };
    let facts = Facts {
        request: request("r"),
        namespace: NamespaceFacts { name: "shop".to_owned(), labels: BTreeMap::new() },
        references: (0..256).map(long).collect(),
        requester: None,
    };
    let (folder, decision) = (Folder::new(), decision(Outcome::Allowed));
    let path = folder.file("audit.log");
    let sink = FileSink::new(options(path.clone()));
    let audit = start(sink, OnFailure::Block, LIMITS);
    audit.record(&Entry::decision(&facts.request, Some(&facts), &decision)).await.unwrap();
    audit.close().await;
    assert!(std::fs::metadata(&path).unwrap().len() > 4 << 20, "it is not that long");
    // The next stream finds it at the end of the file, and goes on after it.
    stream(FileSink::new(options(path.clone())), None, 1).await;
    let lines = lines(&path);
    assert!(lines[1].contains("\"after\":"), "{}", &lines[1][..200]);
    let findings = checked(std::slice::from_ref(&path), None);
    assert!(findings.is_clean(), "{:?}", findings.problems);
    let mut items = 0;
    let skipped = each_record(&[path], |record, _| {
        items += record.items.len();
        ControlFlow::Continue(())
    });
    assert_eq!((skipped.unwrap(), items), (0, 256));
}
