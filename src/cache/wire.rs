//! An item as the bytes that are sealed. Only what rendering needs is in them.

use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use crate::connect::{Field, File, Item, Section, State, Value, Website};
use crate::policy::ItemIdentity;

/// Borrows the values from an item, or from the opened bytes: nothing is copied on the way.
#[derive(Serialize, Deserialize)]
struct Wire<'a> {
    #[serde(borrow)]
    title: &'a str,
    version: i64,
    #[serde(borrow)]
    sections: Vec<WireSection<'a>>,
    #[serde(borrow)]
    fields: Vec<WireField<'a>>,
    #[serde(borrow)]
    files: Vec<WireFile<'a>>,
    #[serde(borrow)]
    websites: Vec<WireWebsite<'a>>,
}

#[derive(Serialize, Deserialize)]
struct WireSection<'a> {
    id: &'a str,
    label: Option<&'a str>,
}

#[derive(Serialize, Deserialize)]
struct WireField<'a> {
    id: &'a str,
    label: Option<&'a str>,
    type_: &'a str,
    purpose: Option<&'a str>,
    value: Option<&'a str>,
    section_id: Option<&'a str>,
}

#[derive(Serialize, Deserialize)]
struct WireFile<'a> {
    id: &'a str,
    name: &'a str,
    size: Option<u64>,
    section_id: Option<&'a str>,
}

#[derive(Serialize, Deserialize)]
struct WireWebsite<'a> {
    label: Option<&'a str>,
    primary: bool,
    href: Option<&'a str>,
}

/// The bytes of an item.
pub(super) fn encode(item: &Item) -> Option<Zeroizing<Vec<u8>>> {
    let wire = Wire {
        title: &item.title,
        version: item.version,
        sections: item
            .sections
            .iter()
            .map(|s| WireSection { id: &s.id, label: s.label.as_deref() })
            .collect(),
        fields: item
            .fields
            .iter()
            .map(|f| WireField {
                id: &f.id,
                label: f.label.as_deref(),
                type_: &f.type_,
                purpose: f.purpose.as_deref(),
                value: f.value.as_ref().map(Value::expose),
                section_id: f.section_id.as_deref(),
            })
            .collect(),
        files: item
            .files
            .iter()
            .map(|f| WireFile {
                id: &f.id,
                name: &f.name,
                size: f.size,
                section_id: f.section_id.as_deref(),
            })
            .collect(),
        websites: item
            .urls
            .iter()
            .map(|w| WireWebsite {
                label: w.label.as_deref(),
                primary: w.primary,
                href: w.href.as_ref().map(Value::expose),
            })
            .collect(),
    };
    let size = postcard::experimental::serialized_size(&wire).ok()?;
    let mut bytes = Zeroizing::new(vec![0; size]);
    postcard::to_slice(&wire, &mut bytes).ok()?;
    Some(bytes)
}

/// The item of an identity. `None` when the bytes are of an item of another title: it was renamed since.
pub(super) fn decode(identity: &ItemIdentity, bytes: &[u8]) -> Option<Item> {
    let wire: Wire<'_> = postcard::from_bytes(bytes).ok()?;
    if *wire.title != *identity.title {
        return None;
    }
    let text = |text: Option<&str>| text.map(str::to_owned);
    Some(Item {
        id: identity.item_id.clone(),
        title: identity.title.clone(),
        vault_id: identity.vault_id.clone(),
        version: wire.version,
        state: State::Active,
        sections: wire
            .sections
            .into_iter()
            .map(|s| Section { id: s.id.to_owned(), label: text(s.label) })
            .collect(),
        fields: wire
            .fields
            .into_iter()
            .map(|f| Field {
                id: f.id.to_owned(),
                label: text(f.label),
                type_: f.type_.to_owned(),
                purpose: text(f.purpose),
                value: f.value.map(|v| Value::from(v.to_owned())),
                section_id: text(f.section_id),
            })
            .collect(),
        files: wire
            .files
            .into_iter()
            .map(|f| File {
                id: f.id.to_owned(),
                name: f.name.to_owned(),
                size: f.size,
                section_id: text(f.section_id),
            })
            .collect(),
        urls: wire
            .websites
            .into_iter()
            .map(|w| Website {
                label: text(w.label),
                primary: w.primary,
                href: w.href.map(|v| Value::from(v.to_owned())),
            })
            .collect(),
    })
}
