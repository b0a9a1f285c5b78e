//! Connect's `PATCH`: JSON Patch (RFC 6902) with `add`, `remove` and `replace` alone, where fields and sections are
//! named by their id and `/` is the whole item.

use serde::Deserialize;
use serde_json::Value;

use crate::item::write::Invalid;

/// One operation.
#[derive(Deserialize)]
struct Operation {
    op: Op,
    path: String,
    value: Option<Value>,
}

#[derive(Clone, Copy, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "snake_case")]
enum Op {
    Add,
    Remove,
    Replace,
}

/// What an operation does at the end of its path.
enum Change {
    /// Replaces what is there, or sets what is not.
    Set(Value),
    /// As [`Self::Set`], but something must be there.
    Replace(Value),
    Remove,
}

/// Applies a patch to the body of an item and gives the new body. All of it, or nothing.
pub(crate) fn apply(body: &Value, patch: &Value) -> Result<Value, Invalid> {
    let operations = Vec::<Operation>::deserialize(patch).map_err(|_| {
        Invalid::new("this is not a list of operations; known are add, remove and replace")
    })?;
    let mut patched = body.clone();
    for operation in operations {
        let change = match (operation.op, operation.value) {
            (Op::Add, Some(value)) => Change::Set(value),
            (Op::Replace, Some(value)) => Change::Replace(value),
            (Op::Remove, _) => Change::Remove,
            (Op::Add | Op::Replace, None) => {
                return Err(Invalid::new("an operation has no value"));
            }
        };
        let path = segments(&operation.path)?;
        match (path.as_slice(), change) {
            ([], Change::Set(value) | Change::Replace(value)) => {
                patched = whole(&patched, value)?;
            }
            ([], Change::Remove) => return Err(Invalid::new("an item is removed by DELETE")),
            (path, change) => change_at(&mut patched, path, change)?,
        }
    }
    Ok(patched)
}

/// The parts of a pointer (RFC 6901); none for the whole item.
fn segments(path: &str) -> Result<Vec<String>, Invalid> {
    let path = path
        .strip_prefix('/')
        .ok_or_else(|| Invalid::new("the path of an operation starts with a slash"))?;
    if path.is_empty() {
        return Ok(Vec::new());
    }
    Ok(path.split('/').map(|part| part.replace("~1", "/").replace("~0", "~")).collect())
}

/// The whole item anew; what it must have and does not say stays.
fn whole(old: &Value, mut new: Value) -> Result<Value, Invalid> {
    let object = new.as_object_mut().ok_or_else(|| Invalid::new("an item is an object"))?;
    for name in ["id", "vault", "category"] {
        object.entry(name).or_insert_with(|| old[name].clone());
    }
    Ok(new)
}

fn change_at(at: &mut Value, path: &[String], change: Change) -> Result<(), Invalid> {
    let missing = || Invalid::new("the path of an operation leads nowhere");
    match (at, path) {
        (Value::Object(members), [name]) => match change {
            // A new element of a list, given without its place in it.
            Change::Set(value @ Value::Object(_)) if is_list(name) => {
                match members.entry(name).or_insert_with(|| Value::Array(Vec::new())) {
                    Value::Array(list) => list.push(value),
                    _ => return Err(missing()),
                }
            }
            Change::Set(value) => drop(members.insert(name.clone(), value)),
            Change::Replace(value) => *members.get_mut(name).ok_or_else(missing)? = value,
            Change::Remove => drop(members.remove(name).ok_or_else(missing)?),
        },
        (Value::Object(members), [name, rest @ ..]) => {
            change_at(members.get_mut(name).ok_or_else(missing)?, rest, change)?;
        }
        (Value::Array(list), [name]) => match (position(list, name), change) {
            (Some(at), Change::Remove) => drop(list.remove(at)),
            (Some(at), Change::Replace(value)) => {
                let slot = list.get_mut(at).ok_or_else(missing)?;
                *slot = with_id(slot, value);
            }
            // By id it is the element itself; by number RFC 6902 makes room for a new one.
            (Some(at), Change::Set(value)) => match list.get_mut(at) {
                Some(slot) if slot["id"].is_string() => *slot = with_id(slot, value),
                _ => list.insert(at, value),
            },
            (None, Change::Set(value)) if name == "-" || *name == list.len().to_string() => {
                list.push(value);
            }
            (None, _) => return Err(missing()),
        },
        (Value::Array(list), [name, rest @ ..]) => {
            let at = position(list, name).ok_or_else(missing)?;
            change_at(list.get_mut(at).ok_or_else(missing)?, rest, change)?;
        }
        _ => return Err(missing()),
    }
    Ok(())
}

fn is_list(name: &str) -> bool {
    ["fields", "sections", "urls"].contains(&name)
}

/// The place of an element named by its id or, where elements have none, by its number.
fn position(list: &[Value], name: &str) -> Option<usize> {
    let by_id = list.iter().position(|element| element["id"].as_str() == Some(name));
    by_id.or_else(|| {
        let at: usize = name.parse().ok()?;
        list.get(at).filter(|element| element.get("id").is_none()).map(|_| at)
    })
}

/// An element that takes another's place keeps its id.
fn with_id(old: &Value, mut new: Value) -> Value {
    if let (Some(id), Some(members)) = (old.get("id"), new.as_object_mut()) {
        members.insert("id".to_owned(), id.clone());
    }
    new
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn item() -> Value {
        json!({
            "id": "i", "vault": {"id": "v"}, "category": "LOGIN", "title": "old",
            "tags": ["a", "b"],
            "fields": [{"id": "f1", "label": "one", "value": "1"}, {"id": "2", "label": "two"}],
        })
    }

    fn patched(patch: &Value) -> Value {
        apply(&item(), patch).unwrap_or_else(|e| panic!("{}", e.message()))
    }

    #[test]
    fn fields_are_named_by_id() {
        let body = patched(&json!([
            {"op": "replace", "path": "/fields/f1/value", "value": "n3w"},
            {"op": "add", "path": "/fields/2/value", "value": "by id, not by number"},
            {"op": "add", "path": "/fields", "value": {"label": "three"}},
            {"op": "remove", "path": "/fields/f1/label"},
        ]));
        assert_eq!(body["fields"][0], json!({"id": "f1", "value": "n3w"}));
        assert_eq!(body["fields"][1]["value"], "by id, not by number");
        assert_eq!(body["fields"][2], json!({"label": "three"}));
        let body = patched(&json!([
            {"op": "replace", "path": "/fields/f1", "value": {"label": "other"}},
            {"op": "remove", "path": "/fields/2"},
        ]));
        assert_eq!(body["fields"], json!([{"id": "f1", "label": "other"}]));
    }

    #[test]
    fn attributes_and_tags_are_named_as_rfc_6902_has_it() {
        let body = patched(&json!([
            {"op": "replace", "path": "/title", "value": "new"},
            {"op": "add", "path": "/favorite", "value": true},
            {"op": "remove", "path": "/tags/0"},
            {"op": "add", "path": "/tags/-", "value": "c"},
            {"op": "add", "path": "/tags/0", "value": "first"},
        ]));
        assert_eq!((&body["title"], &body["favorite"]), (&json!("new"), &json!(true)));
        assert_eq!(body["tags"], json!(["first", "b", "c"]));
    }

    #[test]
    fn a_slash_is_the_whole_item() {
        let body = patched(&json!([{"op": "replace", "path": "/", "value": {"title": "new"}}]));
        let want = json!({"id": "i", "vault": {"id": "v"}, "category": "LOGIN", "title": "new"});
        assert_eq!(body, want);
    }

    #[test]
    fn a_patch_that_leads_nowhere_is_refused_whole() {
        for patch in [
            json!({"op": "remove"}),
            json!([{"op": "move", "from": "/a", "path": "/b"}]),
            json!([{"op": "test", "path": "/title", "value": "old"}]),
            json!([{"op": "replace", "path": "/title"}]),
            json!([{"op": "replace", "path": "title", "value": "x"}]),
            json!([{"op": "remove", "path": "/"}]),
            json!([{"op": "remove", "path": "/fields/none"}]),
            json!([{"op": "remove", "path": "/fields/0"}]),
            json!([{"op": "replace", "path": "/fields/none/value", "value": "x"}]),
            json!([{"op": "replace", "path": "/title/deeper", "value": "x"}]),
            json!([{"op": "remove", "path": "/tags/2"}]),
            json!([{"op": "replace", "path": "/", "value": "x"}]),
        ] {
            assert!(apply(&item(), &patch).is_err(), "{patch}");
        }
    }

    proptest! {
        #[test]
        fn what_is_replaced_is_read_back(id in "[a-z0-9~/ ]{1,12}", value in ".{0,20}") {
            let body = json!({"fields": [{"id": "other"}, {"id": id, "value": "old"}]});
            let path = format!("/fields/{}/value", id.replace('~', "~0").replace('/', "~1"));
            let patch = json!([{"op": "replace", "path": path, "value": value}]);
            let patched = apply(&body, &patch).map_err(|e| TestCaseError::fail(e.message()))?;
            prop_assert_eq!(&patched["fields"][1]["value"], &json!(value));
            prop_assert_eq!(&patched["fields"][0], &json!({"id": "other"}));
        }

        #[test]
        fn no_path_brings_it_down(
            op in prop::sample::select(vec!["add", "remove", "replace"]),
            path in "(/(fields|tags|title|f1|2|0|-|~1|~|.)){0,4}/?",
        ) {
            let patch = json!([{"op": op, "path": path, "value": {"id": "x"}}]);
            let _ = apply(&item(), &patch);
        }
    }
}
