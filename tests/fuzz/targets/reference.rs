//! Whatever is accepted as a reference has clean parts, and reads back as it was.
#![no_main]

use libfuzzer_sys::fuzz_target;
use portcullis::reference::Reference;

fuzz_target!(|text: &str| {
    let Ok(reference) = text.parse::<Reference>() else { return };
    let parts = [&reference.vault, &reference.item, &reference.field];
    for part in parts.into_iter().chain(&reference.section) {
        assert_eq!(part.trim(), part);
        let is_clean = |c: char| c.is_ascii_alphanumeric() || "-_. ".contains(c);
        assert!(!part.is_empty() && part.chars().all(is_clean));
    }
    assert_eq!(reference.to_string().parse(), Ok(reference));
});
