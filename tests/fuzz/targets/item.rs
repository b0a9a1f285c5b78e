//! An item of any shape is read or refused, and whatever is looked for in it is found or not, without a panic.
//!
//! The input is the item in JSON; after a zero byte the field, after another the section.
#![no_main]

use libfuzzer_sys::fuzz_target;
use portcullis::connect::{FindError, Item};
use portcullis::reference::Wanted;

fuzz_target!(|data: &[u8]| {
    let mut parts = data.splitn(3, |byte| *byte == 0);
    let Some(Ok(item)) = parts.next().map(serde_json::from_slice::<Item>) else { return };
    let field = parts.next().map(String::from_utf8_lossy).unwrap_or_default();
    let section = parts.next().map(String::from_utf8_lossy);
    for wanted in Wanted::ALL {
        let _ = item.find(section.as_deref(), &field, wanted);
        for field in &item.fields {
            let found = item.find(None, &field.id, wanted);
            assert!(!matches!(found, Err(FindError::NotFound)), "an id is not found");
        }
    }
});
