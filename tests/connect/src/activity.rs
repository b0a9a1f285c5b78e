//! Connect's own record of who asked for what: the rows of `/v1/activity`.

use std::collections::VecDeque;
use std::net::IpAddr;

use chrono::{DateTime, Utc};
use serde_json::{Value, json};

use crate::item::body::time;
use crate::token::Actor;

/// How many rows are kept; older ones go.
pub(crate) const ACTIVITY_LIMIT: usize = 10_000;
/// How many rows a page has when a client does not say.
const PAGE: usize = 50;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Action {
    Read,
    Create,
    Update,
    Delete,
}

impl Action {
    fn name(self) -> &'static str {
        match self {
            Self::Read => "READ",
            Self::Create => "CREATE",
            Self::Update => "UPDATE",
            Self::Delete => "DELETE",
        }
    }
}

/// What a request was about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Resource {
    /// The list of vaults, or one vault.
    Vault { id: Option<String> },
    /// The items of a vault, or one of them with the version it has afterwards.
    Item { vault: String, item: Option<(String, u64)> },
}

impl Resource {
    fn body(&self) -> Value {
        match self {
            Self::Vault { id: None } => json!({"type": "VAULT"}),
            Self::Vault { id: Some(id) } => json!({"type": "VAULT", "vault": {"id": id}}),
            Self::Item { vault, item: None } => json!({"type": "ITEM", "vault": {"id": vault}}),
            Self::Item { vault, item: Some((item, version)) } => json!({
                "type": "ITEM",
                "vault": {"id": vault},
                "item": {"id": item},
                "itemVersion": version,
            }),
        }
    }
}

/// Whether the server did as it was asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    Success,
    Deny,
}

/// A request to record.
pub(crate) struct Entry {
    pub(crate) action: Action,
    pub(crate) outcome: Outcome,
    pub(crate) resource: Resource,
    pub(crate) actor: Actor,
    pub(crate) user_agent: String,
    pub(crate) ip: IpAddr,
}

#[derive(Default)]
pub(crate) struct Activity {
    /// The last one first.
    rows: VecDeque<Value>,
}

/// A part of the rows, and where it stands among all: `1-50/1134`.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Page {
    pub(crate) rows: Value,
    pub(crate) range: String,
}

impl Activity {
    pub(crate) fn record(&mut self, entry: &Entry, at: DateTime<Utc>) {
        let outcome = match entry.outcome {
            Outcome::Success => "SUCCESS",
            Outcome::Deny => "DENY",
        };
        self.rows.truncate(ACTIVITY_LIMIT - 1);
        self.rows.push_front(json!({
            "requestId": uuid(rand::random()),
            "timestamp": time(at),
            "action": entry.action.name(),
            "result": outcome,
            "actor": {
                "id": entry.actor.id,
                "account": entry.actor.account,
                "jti": entry.actor.jti,
                "userAgent": entry.user_agent,
                "requestIp": entry.ip.to_string(),
            },
            "resource": entry.resource.body(),
        }));
    }

    /// The rows that a query asks for, with `limit` and `offset`; an error that says what is wrong with it.
    pub(crate) fn page(&self, query: &str) -> Result<Page, &'static str> {
        let number = |name: &str, absent: usize| {
            let given = query.split('&').filter_map(|pair| pair.split_once('='));
            given
                .filter(|(n, _)| *n == name)
                .map(|(_, v)| v)
                .next_back()
                .map_or(Some(absent), |v| v.parse().ok())
        };
        let limit = number("limit", PAGE).ok_or("limit is not a number")?;
        let offset = number("offset", 0).ok_or("offset is not a number")?;
        let rows: Vec<&Value> = self.rows.iter().skip(offset).take(limit).collect();
        let total = self.rows.len();
        let range = match rows.len() {
            0 => format!("0-0/{total}"),
            some => format!("{}-{}/{total}", offset + 1, offset + some),
        };
        Ok(Page { rows: json!(rows), range })
    }
}

/// The text of a random UUID (RFC 9562, version 4).
fn uuid(bits: u128) -> String {
    let bits = bits & !(0xf << 76) & !(0x3 << 62) | (0x4 << 76) | (0x2 << 62);
    let hex = format!("{bits:032x}");
    [&hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..]].join("-")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(item: u64) -> Entry {
        Entry {
            action: Action::Read,
            outcome: Outcome::Success,
            resource: Resource::Item { vault: "v".to_owned(), item: Some(("i".to_owned(), item)) },
            actor: Actor::of("t"),
            user_agent: "test/1".to_owned(),
            ip: IpAddr::from([127, 0, 0, 1]),
        }
    }

    #[test]
    fn pages_begin_with_the_last_row() {
        let mut activity = Activity::default();
        assert_eq!(activity.page("").map(|p| p.range), Ok("0-0/0".to_owned()));
        (0..60).for_each(|n| activity.record(&entry(n), Utc::now()));
        let page = activity.page("").expect("a page");
        assert_eq!(
            (page.range.as_str(), &page.rows[0]["resource"]["itemVersion"]),
            ("1-50/60", &json!(59))
        );
        let page = activity.page("limit=20&offset=50").expect("a page");
        assert_eq!(
            (page.range.as_str(), page.rows.as_array().map(Vec::len)),
            ("51-60/60", Some(10))
        );
        assert_eq!(activity.page("offset=60").map(|p| p.range), Ok("0-0/60".to_owned()));
        assert!(activity.page("limit=x").is_err() && activity.page("offset=-1").is_err());
    }

    #[test]
    fn the_rows_are_bounded() {
        let mut activity = Activity::default();
        (0..=ACTIVITY_LIMIT as u64).for_each(|n| activity.record(&entry(n), Utc::now()));
        let range = format!("1-1/{ACTIVITY_LIMIT}");
        assert_eq!(activity.page("limit=1").map(|p| p.range), Ok(range));
    }

    #[test]
    fn a_request_id_has_the_form_of_a_uuid() {
        assert_eq!(uuid(0), "00000000-0000-4000-8000-000000000000");
        assert_eq!(uuid(u128::MAX), "ffffffff-ffff-4fff-bfff-ffffffffffff");
    }
}
