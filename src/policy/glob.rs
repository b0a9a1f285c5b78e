/// Whether `text` matches `pattern`, in which `*` stands for any run of characters and `?` for one.
/// Everything else stands for itself; case matters. Takes at most `pattern.len() * text.len()` steps.
#[must_use]
pub fn glob_matches(pattern: &str, text: &str) -> bool {
    let pattern: Vec<char> = pattern.chars().collect();
    let text: Vec<char> = text.chars().collect();
    let (mut p, mut t) = (0, 0);
    // Where to go on when the last star has to take one more character.
    let mut retry: Option<(usize, usize)> = None;
    while let Some(&c) = text.get(t) {
        match pattern.get(p) {
            Some('*') => {
                retry = Some((p, t));
                p += 1;
            }
            Some(&expected) if expected == '?' || expected == c => {
                p += 1;
                t += 1;
            }
            _ => match retry {
                Some((star, taken)) => {
                    retry = Some((star, taken + 1));
                    p = star + 1;
                    t = taken + 1;
                }
                None => return false,
            },
        }
    }
    pattern.iter().skip(p).all(|c| *c == '*')
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn star_and_question_mark_are_the_only_wildcards() {
        for (pattern, text, matches) in [
            ("shop-*", "shop-api", true),
            ("shop-*", "shop-", true),
            ("shop-*", "my-shop-api", false),
            ("*", "", true),
            ("a*b*c", "a-x-b-y-c", true),
            ("a*b*c", "a-x-c-y-b", false),
            ("?.txt", "a.txt", true),
            ("?.txt", ".txt", false),
            ("Shop", "shop", false),
            ("[ab]", "a", false),
            ("é*", "éa", true),
        ] {
            assert_eq!(glob_matches(pattern, text), matches, "{pattern} {text}");
        }
    }

    /// The definition, without an eye on its cost.
    fn by_definition(pattern: &[char], text: &[char]) -> bool {
        match (pattern.split_first(), text.split_first()) {
            (None, rest) => rest.is_none(),
            (Some(('*', tail)), _) => (0..=text.len()).any(|n| by_definition(tail, &text[n..])),
            (Some((p, tail)), Some((t, rest))) => {
                (*p == '?' || p == t) && by_definition(tail, rest)
            }
            (Some(_), None) => false,
        }
    }

    proptest! {
        #[test]
        fn agrees_with_the_definition(pattern in "[ab*?]{0,8}", text in "[ab]{0,10}") {
            let (p, t): (Vec<char>, Vec<char>) = (pattern.chars().collect(), text.chars().collect());
            prop_assert_eq!(glob_matches(&pattern, &text), by_definition(&p, &t));
        }
    }
}
