//! Where in an expression something stands. The parser tells of what it refuses itself and keeps no places of the rest.

use std::iter::Peekable;
use std::str::CharIndices;

/// The place of a name in an expression, in characters from 1, where the name was passed so many times before. Texts and
/// comments do not count.
pub(super) fn of(source: &str, name: &str, passed: usize) -> Option<usize> {
    let mut words = Vec::new();
    let mut chars = source.char_indices().peekable();
    let mut before = None;
    while let Some((at, c)) = chars.next() {
        let is_raw = matches!(before, Some('r' | 'R'));
        match c {
            '\'' | '"' => skip_text(source, &mut chars, at, c, is_raw),
            '/' if source.get(at..).is_some_and(|rest| rest.starts_with("//")) => {
                while chars.next_if(|(_, c)| *c != '\n').is_some() {}
            }
            _ if is_word(c) && !before.is_some_and(is_word) => words.push(at),
            _ => {}
        }
        before = Some(c);
    }
    let is_there = |at: &usize| {
        let rest = source.get(*at..).and_then(|rest| rest.strip_prefix(name));
        rest.is_some_and(|rest| !rest.starts_with(is_word))
    };
    let at = words.into_iter().filter(is_there).nth(passed)?;
    Some(source.get(..at)?.chars().count() + 1)
}

fn is_word(c: char) -> bool {
    c.is_ascii_alphanumeric() || c == '_'
}

/// Goes on behind the end of a text that begins with a quote at a place.
fn skip_text(
    source: &str,
    chars: &mut Peekable<CharIndices<'_>>,
    at: usize,
    quote: char,
    is_raw: bool,
) {
    let triple = quote.to_string().repeat(3);
    let rest = |at: usize| source.get(at..).unwrap_or_default();
    let end = if rest(at).starts_with(&triple) { triple } else { quote.to_string() };
    let mut from = at + end.len();
    loop {
        if rest(from).starts_with(&end) {
            from += end.len();
            break;
        }
        let escape = usize::from(!is_raw && rest(from).starts_with('\\'));
        let taken: usize = rest(from).chars().take(1 + escape).map(char::len_utf8).sum();
        if taken == 0 {
            break;
        }
        from += taken;
    }
    while chars.next_if(|(next, _)| *next < from).is_some() {}
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_found_where_it_stands_and_nowhere_else() {
        for (source, name, passed, place) in [
            ("ab.a == a", "a", 0, Some(4)),
            ("ab.a == a", "a", 1, Some(9)),
            ("ab.a == a", "a", 2, None),
            ("'a' == \"a\" || a", "a", 0, Some(15)),
            (r"'\'a' == a", "a", 0, Some(10)),
            (r"r'\' == a", "a", 0, Some(9)),
            ("'''a'a''' == a", "a", 0, Some(14)),
            ("1 // a\n== a", "a", 0, Some(11)),
            ("größe == a", "a", 0, Some(10)),
            ("[a.B{c: 1}]", "a.B", 0, Some(2)),
            ("'a", "a", 0, None),
            ("'a\\", "a", 0, None),
        ] {
            assert_eq!(of(source, name, passed), place, "{source}");
        }
    }
}
