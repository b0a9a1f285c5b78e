use proptest::prelude::*;
use serde_json::{Map, Value};

use super::*;

const LIMIT: usize = 4096;

type Object = Map<String, Value>;

/// What the splitter and serde make of chunks.
fn split<'a>(chunks: impl IntoIterator<Item = &'a [u8]>) -> Result<Vec<Object>, Failure> {
    let (mut splitter, mut found) = (Splitter::new(LIMIT), Vec::new());
    for chunk in chunks {
        splitter.feed(chunk, |entry| {
            found.push(body::parse(entry)?);
            Ok(())
        })?;
    }
    splitter.finish().map(|()| found)
}

/// The text cut at these places.
fn cut<'a>(text: &'a [u8], at: &[prop::sample::Index]) -> Vec<&'a [u8]> {
    let mut at: Vec<usize> = at.iter().map(|i| i.index(text.len() + 1)).collect();
    at.extend([0, text.len()]);
    at.sort_unstable();
    at.windows(2).map(|ends| &text[ends[0]..ends[1]]).collect()
}

fn value() -> impl Strategy<Value = Value> {
    let text = prop_oneof![any::<String>(), r#"[\[\]{}",:\\a ]{0,12}"#];
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        text.prop_map(Value::from),
    ];
    leaf.prop_recursive(4, 24, 6, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..6).prop_map(Value::from),
            prop::collection::vec((any::<String>(), inner), 0..6)
                .prop_map(|pairs| Value::Object(pairs.into_iter().collect())),
        ]
    })
}

fn array() -> impl Strategy<Value = Vec<u8>> {
    let objects =
        prop::collection::vec(prop::collection::vec((any::<String>(), value()), 0..4), 0..6);
    (objects, any::<bool>()).prop_map(|(objects, pretty)| {
        let objects: Vec<Object> =
            objects.into_iter().map(|pairs| pairs.into_iter().collect()).collect();
        if pretty {
            serde_json::to_vec_pretty(&objects).unwrap()
        } else {
            serde_json::to_vec(&objects).unwrap()
        }
    })
}

proptest! {
    #[test]
    fn an_array_gives_what_it_holds_however_it_is_cut(
        text in array(), at in prop::collection::vec(any::<prop::sample::Index>(), 0..12),
    ) {
        let whole: Vec<Object> = serde_json::from_slice(&text).unwrap();
        match split(cut(&text, &at)) {
            Ok(found) => prop_assert_eq!(found, whole),
            Err(failure) => prop_assert_eq!(failure, Failure::EntryTooLarge(LIMIT)),
        }
    }

    #[test]
    fn what_is_no_array_of_objects_is_refused_as_serde_refuses_it(
        mut text in array(), at in any::<prop::sample::Index>(),
        other in prop_oneof![any::<u8>(), prop::sample::select(br#"[]{}",:\ 0n"#.to_vec())],
        change in 0..4,
    ) {
        match change {
            0 => text.truncate(at.index(text.len())),
            1 => text.insert(at.index(text.len() + 1), other),
            2 => drop(text.remove(at.index(text.len()))),
            _ => { let at = at.index(text.len()); text[at] = other; }
        }
        let whole = serde_json::from_slice::<Vec<Object>>(&text);
        match split([&*text]) {
            Ok(found) => prop_assert_eq!(Some(found), whole.ok()),
            Err(Failure::EntryTooLarge(_)) => {}
            Err(failure) => {
                prop_assert_eq!(failure, Failure::NotConnect);
                prop_assert!(whole.is_err());
            }
        }
    }

    #[test]
    fn no_bytes_are_taken_for_a_list_that_serde_does_not_read(
        text in prop::collection::vec(prop_oneof![any::<u8>(), prop::sample::select(br#"[]{}",:\ 0n"#.to_vec())], 0..40),
    ) {
        let whole = serde_json::from_slice::<Vec<Object>>(&text);
        prop_assert_eq!(split([&*text]).ok(), whole.ok());
    }
}

#[test]
fn an_entry_beyond_the_limit_is_not_held() {
    let fits = format!(r#"[{{"a":"{}"}}]"#, "x".repeat(LIMIT - 8));
    assert_eq!(split([fits.as_bytes()]).unwrap().len(), 1);
    let beyond = format!(r#"[{{"a":"{}"}}]"#, "x".repeat(LIMIT - 7));
    assert_eq!(split([beyond.as_bytes()]), Err(Failure::EntryTooLarge(LIMIT)));
}
