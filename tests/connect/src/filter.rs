//! Connect's `filter` parameter: an attribute, `eq` or `co`, a value in double quotes. Whatever else is a
//! mistake and answered as one, since a server that ignores a broken filter hands out the wrong item.

/// What a client may filter a list by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Attribute {
    Title,
    Name,
    Tag,
}

/// A filter that was understood.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Filter {
    pub(crate) attribute: Attribute,
    pub(crate) contains: bool,
    pub(crate) value: String,
}

impl Filter {
    /// Reads the filter of a query string; `Ok(None)` when it has none.
    pub(crate) fn from_query(query: &str) -> Result<Option<Self>, String> {
        let mut found = query.split('&').filter_map(|pair| match pair.split_once('=') {
            Some(("filter", value)) => Some(value),
            None if pair == "filter" => Some(""),
            _ => None,
        });
        match (found.next(), found.next()) {
            (None, _) => Ok(None),
            (Some(raw), None) => {
                let text =
                    form_decode(raw).ok_or_else(|| "invalid filter: bad encoding".to_owned())?;
                Self::parse(&text).map(Some)
            }
            _ => Err("invalid filter: given more than once".to_owned()),
        }
    }

    fn parse(text: &str) -> Result<Self, String> {
        let bad = |why: &str| format!("invalid filter: {why}");
        let (attribute, rest) =
            text.trim().split_once(' ').ok_or_else(|| bad("attribute, operator and value"))?;
        let attribute = match attribute {
            "title" => Attribute::Title,
            "name" => Attribute::Name,
            "tag" => Attribute::Tag,
            _ => return Err(bad("unknown attribute")),
        };
        let (operator, rest) = rest.trim_start().split_once(' ').ok_or_else(|| bad("no value"))?;
        let contains = match operator {
            "eq" => false,
            "co" => true,
            _ => return Err(bad("unknown operator")),
        };
        let value = rest
            .trim_start()
            .strip_prefix('"')
            .and_then(|v| v.strip_suffix('"'))
            .ok_or_else(|| bad("the value needs double quotes"))?;
        if value.contains(['"', '\\']) {
            return Err(bad("no quote and no backslash inside of a value"));
        }
        Ok(Self { attribute, contains, value: value.to_owned() })
    }

    /// Whether a vault of this name is meant. The case of a vault's name does not matter.
    pub(crate) fn vault(&self, name: &str) -> bool {
        self.matches(&name.to_lowercase(), &self.value.to_lowercase())
    }

    /// Whether an item is meant. The case of titles and tags matters.
    pub(crate) fn item(&self, title: &str, tags: &[String]) -> bool {
        match self.attribute {
            Attribute::Tag => tags.iter().any(|tag| self.matches(tag, &self.value)),
            Attribute::Title | Attribute::Name => self.matches(title, &self.value),
        }
    }

    fn matches(&self, have: &str, want: &str) -> bool {
        if self.contains { have.contains(want) } else { have == want }
    }
}

/// `+` and `%20` are both a space. `None` when it does not decode to text.
fn form_decode(raw: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(raw.len());
    let mut rest = raw.bytes();
    while let Some(byte) = rest.next() {
        bytes.push(match byte {
            b'+' => b' ',
            b'%' => {
                let hex = [rest.next()?, rest.next()?];
                if !hex.iter().all(u8::is_ascii_hexdigit) {
                    return None;
                }
                u8::from_str_radix(std::str::from_utf8(&hex).ok()?, 16).ok()?
            }
            other => other,
        });
    }
    String::from_utf8(bytes).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(query: &str) -> Option<Filter> {
        Filter::from_query(query).unwrap_or_else(|e| panic!("{query}: {e}"))
    }

    #[test]
    fn both_ways_to_write_a_space() {
        for query in [
            "filter=title+eq+%22My+Item%22",
            "filter=title%20eq%20%22My%20Item%22",
            "a=b&filter=title%20eq%20\"My%20Item\"",
        ] {
            let want =
                Filter { attribute: Attribute::Title, contains: false, value: "My Item".into() };
            assert_eq!(read(query), Some(want), "{query}");
        }
        assert_eq!(
            read("filter=title+eq+%22a%2Bb+%26+c%23%22").map(|f| f.value),
            Some("a+b & c#".into())
        );
        assert_eq!(read("filter=title+eq+%22it's%22").map(|f| f.value), Some("it's".into()));
        assert_eq!(read(""), None);
        assert_eq!(read("limit=5"), None);
    }

    #[test]
    fn operators_and_attributes() {
        let tagged = read("filter=tag+co+%22ank%22").expect("a filter");
        assert!(tagged.item("x", &["banking".into()]));
        assert!(!tagged.item("banking", &[]));
        let named = read("filter=name+eq+%22Services%22").expect("a filter");
        assert!(named.vault("services") && !named.vault("services2"));
        let titled = read("filter=title+eq+%22Services%22").expect("a filter");
        assert!(titled.item("Services", &[]) && !titled.item("services", &[]));
    }

    #[test]
    fn a_broken_filter_is_never_no_filter() {
        for query in [
            "filter",
            "filter=",
            "filter=title",
            "filter=title+eq",
            "filter=title+eq+Item",
            "filter=title+eq+'Item'",
            "filter=title+eq+%22A%20&%20B%22", // what two clients send for: A & B
            "filter=title+eq+%22",
            "filter=title+eq+%22a%22b%22",
            "filter=title+eq+%22a%5Cb%22",
            "filter=title+ne+%22a%22",
            "filter=id+eq+%22a%22",
            "filter=TITLE+eq+%22a%22",
            "filter=title+eq+%22a%22+or+title+eq+%22b%22",
            "filter=title+eq+%2",
            "filter=title+eq+%22%zz%22",
            "filter=title+eq+%22%+1%22",
            "filter=title+eq+%22%ff%22",
            "filter=title+eq+%22a%22&filter=title+eq+%22b%22",
        ] {
            assert!(Filter::from_query(query).is_err(), "{query}");
        }
    }
}
