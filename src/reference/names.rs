/// How a spelling meets the names of things: the one rule on case.
///
/// An id counts only as it is. Of names, those that are spelled alike to the letter count; only if there
/// are none, those that differ in case alone do. Whoever writes `op://Services/…` finds `services`, and
/// two vaults `Prod` and `prod` stay tellable. More than one match is for the caller to refuse.
#[must_use]
pub fn select<'t, T>(
    candidates: &'t [T],
    spelled: &str,
    id: impl Fn(&T) -> &str,
    name: impl Fn(&T) -> &str,
) -> Vec<&'t T> {
    let exact: Vec<&T> =
        candidates.iter().filter(|c| id(c) == spelled || name(c) == spelled).collect();
    if !exact.is_empty() {
        return exact;
    }
    let folded = fold(spelled);
    candidates.iter().filter(|c| fold(name(c)) == folded).collect()
}

/// A name without its case.
#[must_use]
pub fn fold(name: &str) -> String {
    name.to_lowercase()
}

/// Whether a text has the form of 1Password's ids
/// (<https://developer.1password.com/docs/connect/api-reference>). A title may have it, too.
#[must_use]
pub fn is_id(text: &str) -> bool {
    text.len() == 26 && text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(names: &[(&'static str, &'static str)], spelled: &str) -> Vec<&'static str> {
        select(names, spelled, |c| c.0, |c| c.1).into_iter().map(|c| c.0).collect()
    }

    #[test]
    fn letters_alike_come_before_case_alone() {
        let names = [("1", "Prod"), ("2", "prod"), ("3", "PROD")];
        assert_eq!(found(&names, "prod"), ["2"]);
        assert_eq!(found(&names, "pRod"), ["1", "2", "3"]);
        assert_eq!(found(&names[..1], "prod"), ["1"]);
        assert_eq!(found(&names, "other"), [""; 0]);
    }

    #[test]
    fn an_id_and_an_equal_title_are_two_matches() {
        assert_eq!(found(&[("abc", "x"), ("def", "abc")], "abc"), ["abc", "def"]);
        assert_eq!(found(&[("abc", "x")], "ABC"), [""; 0]);
    }
}
