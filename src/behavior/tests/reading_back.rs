//! Profiles as they are stored.

use chrono::TimeDelta;
use hmac::{Hmac, KeyInit as _, Mac as _};
use proptest::prelude::*;
use serde_json::Value;
use sha2::Sha256;

use super::given::{TOOLS, World};
use crate::api::{AccessProfileSpec, RebuildCause};
use crate::behavior::Profile;

/// A tag of a key that is made up for the test.
fn tag(content: &[u8]) -> String {
    let mut mac = Hmac::<Sha256>::new_from_slice(b"not a real key").unwrap();
    mac.update(content);
    mac.finalize().into_bytes().iter().map(|byte| format!("{byte:02x}")).collect()
}

fn open(namespace: &str, stored: &AccessProfileSpec) -> Result<Profile, RebuildCause> {
    Profile::open(namespace, stored, |given, content| given == tag(content))
}

/// A profile with something in each part.
fn lived() -> Profile {
    let mut world = World::with_habits();
    world.profiles.doubt("shop", RebuildCause::Missing, world.now);
    let mut attempt = world.attempt("shop", "web", TOOLS, 3..6);
    attempt.consumer = Some("web".to_owned());
    world.grant(&attempt);
    world.pass(TimeDelta::minutes(5));
    let attempt = world.attempt("shop", "web", TOOLS, 6..9);
    world.deny(&attempt);
    world.profiles.get("shop").unwrap().clone()
}

fn through_json(stored: &AccessProfileSpec) -> AccessProfileSpec {
    serde_json::from_value(serde_json::to_value(stored).unwrap()).unwrap()
}

#[test]
fn a_profile_reads_back_as_it_was_stored() {
    let profile = lived();
    let stored = through_json(&profile.seal("shop", tag));
    assert_eq!(open("shop", &stored), Ok(profile));
}

#[test]
fn a_profile_of_another_namespace_is_foreign() {
    let stored = lived().seal("shop", tag);
    assert_eq!(open("other", &stored), Err(RebuildCause::Foreign));
}

#[test]
fn lists_out_of_order_are_broken_though_the_tag_is_right() {
    let mut profile = lived();
    profile.known.vaults.reverse();
    assert_eq!(open("shop", &profile.seal("shop", tag)), Err(RebuildCause::Broken));
    let mut profile = lived();
    profile.known.hours.pop();
    assert_eq!(open("shop", &profile.seal("shop", tag)), Err(RebuildCause::Broken));
}

/// The paths of all that can be changed in a profile.
fn leaves(value: &Value, path: &str, found: &mut Vec<String>) {
    match value {
        Value::Object(fields) => {
            fields.iter().for_each(|(name, v)| leaves(v, &format!("{path}/{name}"), found));
        }
        Value::Array(entries) => {
            found.push(path.to_owned());
            entries.iter().enumerate().for_each(|(n, v)| leaves(v, &format!("{path}/{n}"), found));
        }
        _ => found.push(path.to_owned()),
    }
}

/// Another value of the same kind.
fn changed(value: &Value) -> Value {
    match value {
        Value::Number(number) => (number.as_i64().unwrap() + 1).into(),
        Value::Array(entries) => {
            let mut entries = entries.clone();
            entries.pop();
            entries.into()
        }
        Value::String(text) if text.ends_with('Z') => "2031-01-02T03:04:05Z".into(),
        Value::String(text) if text == "Missing" => "Broken".into(),
        Value::String(text) => format!("{text}x").into(),
        other => panic!("{other}"),
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn any_change_of_a_stored_profile_is_found_out(pick in any::<prop::sample::Index>()) {
        let stored = serde_json::to_value(lived().seal("shop", tag)).unwrap();
        let mut paths = Vec::new();
        leaves(&stored, "", &mut paths);
        let path = pick.get(&paths);
        let mut edited = stored.clone();
        let place = edited.pointer_mut(path).unwrap();
        *place = changed(place);
        if edited != stored {
            let edited: AccessProfileSpec = serde_json::from_value(edited).unwrap();
            prop_assert_eq!(open("shop", &edited), Err(RebuildCause::Foreign), "{}", path);
        }
    }
}
