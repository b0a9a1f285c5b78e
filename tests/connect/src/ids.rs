//! Ids like Connect's, derived from names, so that a test or a person meets the same ones every time.

use std::fmt::Write as _;

/// 128 bits of FNV-1a. Not for secrets: it makes ids that look random and stay the same.
pub(crate) fn digest(parts: &[&str]) -> u128 {
    let mut hash: u128 = 0x6c62_272e_07bb_0142_62b8_2175_6295_c58d;
    let mut feed = |byte: u8| {
        hash ^= u128::from(byte);
        hash = hash.wrapping_mul(0x0000_0000_0100_0000_0000_0000_0000_013b);
    };
    for part in parts {
        part.bytes().for_each(&mut feed);
        feed(0xff); // never in UTF-8, so ("ab","c") and ("a","bc") differ
    }
    (0..8).for_each(&mut feed);
    hash ^ (hash >> 61)
}

/// 26 characters of unpadded lower-case base32, as Connect writes 16 bytes.
pub(crate) fn id(parts: &[&str]) -> String {
    const ALPHABET: &[u8; 32] = b"abcdefghijklmnopqrstuvwxyz234567";
    let bits = digest(parts);
    (0..26)
        .map(|i| {
            let shift = 123 - 5 * i;
            let five = if shift >= 0 { bits >> shift } else { bits << -shift };
            char::from(ALPHABET[(five & 31) as usize])
        })
        .collect()
}

/// The id of a section, in the form 1Password's own applications use.
pub(crate) fn section_id(parts: &[&str]) -> String {
    let mut id = String::from("Section_");
    let _ = write!(id, "{:032X}", digest(parts));
    id
}

/// Whether a text has the form of an id. A title can have it too.
pub(crate) fn is_id(text: &str) -> bool {
    text.len() == 26 && text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_have_the_form_and_differ() {
        let ids: std::collections::BTreeSet<_> =
            (0..5000).map(|n| id(&["v", &format!("item-{n}")])).collect();
        assert_eq!(ids.len(), 5000);
        assert!(ids.iter().all(|i| is_id(i)), "{:?}", ids.first());
        assert_eq!(id(&["a", "b"]), id(&["a", "b"]));
        assert_ne!(id(&["ab", "c"]), id(&["a", "bc"]));
    }
}
