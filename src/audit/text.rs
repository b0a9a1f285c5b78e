//! Text that others typed, for where it is read: terminals, JSON lines and pages. Pure.

use std::fmt::Write as _;

/// Whether a character moves the cursor, reorders or hides what is around it: control characters, and those that
/// steer bidirectional text, break lines or have no width.
#[must_use]
pub fn is_unsafe(c: char) -> bool {
    c.is_control()
        || matches!(c,
            '\u{ad}' | '\u{61c}' | '\u{180e}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}'
            | '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e007f}')
}

/// For a terminal: one line, with what could steer it spelled out as `\u{…}`.
#[must_use]
pub fn terminal(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        if is_unsafe(c) {
            // Writing to a String does not fail.
            let _ = write!(out, "\\u{{{:x}}}", u32::from(c));
        } else {
            out.push(c);
        }
    }
    out
}

/// For a page, also within a quoted attribute.
#[must_use]
pub fn html(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in terminal(text).chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            _ => out.push(c),
        }
    }
    out
}

/// The same JSON with such characters as escapes, so that the line may be looked at in a terminal. They can stand
/// in strings alone.
#[must_use]
pub fn json(text: &str) -> String {
    if !text.chars().any(is_unsafe) {
        return text.to_owned();
    }
    let mut out = String::with_capacity(text.len() + 32);
    for c in text.chars() {
        if is_unsafe(c) {
            for unit in c.encode_utf16(&mut [0; 2]) {
                let _ = write!(out, "\\u{unit:04x}");
            }
        } else {
            out.push(c);
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOSTILE: &str = "a\u{1b}[31m\nb\u{202e}c\u{e0041}</script>\"'&\u{9b}d\u{7f}";

    #[test]
    fn a_terminal_is_steered_by_nobody() {
        let safe = terminal(HOSTILE);
        assert!(!safe.chars().any(is_unsafe), "{safe:?}");
        assert_eq!(terminal("a\u{1b}[0m\n"), "a\\u{1b}[0m\\u{a}");
        assert_eq!(terminal("größe 密码"), "größe 密码");
    }

    #[test]
    fn a_page_has_no_markup_of_others() {
        let safe = html(HOSTILE);
        assert!(
            !safe.contains(['<', '>', '"', '\'']) && safe.contains("&lt;/script&gt;"),
            "{safe}"
        );
    }

    #[test]
    fn json_means_the_same_after_its_escapes() {
        let before = serde_json::to_string(HOSTILE).unwrap();
        let after = json(&before);
        assert!(!after.chars().any(is_unsafe), "{after:?}");
        assert_eq!(serde_json::from_str::<String>(&after).unwrap(), HOSTILE);
    }
}
