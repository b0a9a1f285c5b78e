//! Faults on demand: what a server in trouble, or a proxy before it, answers.

use std::time::Duration;

use serde::Deserialize;

/// A fault to inject.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FaultSpec {
    /// Which requests it meets.
    #[serde(default)]
    pub route: RouteMatch,
    /// What it does to them.
    pub kind: FaultKind,
    /// How many requests it meets before it is gone; `None` is all.
    #[serde(default)]
    pub times: Option<u32>,
}

impl FaultSpec {
    /// A fault on every request until it is cleared.
    #[must_use]
    pub fn new(kind: FaultKind) -> Self {
        Self { route: RouteMatch::Any, kind, times: None }
    }

    /// Only requests of a route, such as `GET /v1/vaults/{v}/items`.
    #[must_use]
    pub fn on(mut self, template: &str) -> Self {
        self.route = RouteMatch::Template(template.to_owned());
        self
    }

    /// Only requests whose path starts like this, such as `/v1/vaults/<id>`.
    #[must_use]
    pub fn under(mut self, prefix: &str) -> Self {
        self.route = RouteMatch::Prefix(prefix.to_owned());
        self
    }

    /// Only so many requests.
    #[must_use]
    pub fn times(mut self, times: u32) -> Self {
        self.times = Some(times);
        self
    }
}

/// Which requests a fault meets.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "snake_case")]
pub enum RouteMatch {
    /// Every request, `/heartbeat` and `/health` too.
    #[default]
    Any,
    /// A route, written as [`crate::RequestCounts::by_route`] does: `GET /v1/vaults/{v}`.
    Template(String),
    /// The beginning of the path, without the query.
    Prefix(String),
}

/// What a fault does.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FaultKind {
    /// The answer comes later. Several add up, and any other fault comes after them.
    #[serde(rename = "latency_ms", deserialize_with = "millis")]
    Latency(Duration),
    /// A Connect error body with a status, before the token is looked at.
    Status {
        /// The HTTP status, and the body's.
        code: u16,
        /// The body's message.
        message: String,
    },
    /// 429 with `Retry-After`, in whole seconds. A 429 without it is a [`Self::Status`].
    RateLimited {
        /// How long to wait.
        #[serde(rename = "retry_after_s", deserialize_with = "secs")]
        retry_after: Duration,
    },
    /// As [`Self::Status`], with `Retry-After` in whole seconds.
    RetryAfter {
        /// The HTTP status, and the body's.
        code: u16,
        /// The body's message.
        message: String,
        /// How long to wait.
        #[serde(rename = "retry_after_s", deserialize_with = "secs")]
        retry_after: Duration,
    },
    /// A proxy's HTML page, without Connect's version header.
    Html {
        /// The HTTP status; 200 is what a wrong address gives.
        code: u16,
    },
    /// No answer at all, while the connection stays open.
    Hang,
    /// The connection is closed without an answer. Nothing is done, and nothing is written.
    Drop,
    /// Head and half of the body, and then the connection is closed. What was asked is done.
    Reset,
    /// An answer that is whole to HTTP, with half of its body. What was asked is done.
    Truncated,
    /// The body of another item of the same vault. Meets item requests alone, after token and scope.
    WrongItem,
    /// The body of the item under a title that it has not. Meets item requests alone, after token and scope.
    WrongTitle,
    /// The body of the item with the id of another vault, or of another vault. Meets requests of one item or one
    /// vault, after token and scope.
    WrongVault,
    /// The list of vaults, or of the items of one, in which the second entry has the id of the first. Meets lists of
    /// several alone, after token and scope.
    Repeated,
}

/// What a request is about, for faults that change a body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Subject {
    /// One item, read.
    Item,
    /// One vault.
    Vault,
    /// The vaults, or the items of one.
    List,
    Other,
}

/// What is done to a true answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Damage {
    /// The body of another item of the vault.
    OtherItem,
    /// The item under a title that it has not.
    OtherTitle,
    /// The item with the id of another vault; of a vault, another one's body.
    OtherVault,
    /// The list with an id in it twice.
    SameId,
    /// Half of the body, as if that were all.
    Short,
    /// Half of the body, and then the connection closed.
    Broken,
}

impl Damage {
    fn meets(self, subject: Subject) -> bool {
        match self {
            Self::OtherItem | Self::OtherTitle => subject == Subject::Item,
            Self::OtherVault => matches!(subject, Subject::Item | Subject::Vault),
            Self::SameId => subject == Subject::List,
            Self::Short | Self::Broken => true,
        }
    }
}

/// What stands in the place of the true answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Instead {
    Error { code: u16, message: String, retry_after: Option<Duration> },
    Html { code: u16 },
    Hang,
    Drop,
    Damaged(Damage),
}

/// What a fault comes down to.
enum Effect {
    Latency(Duration),
    Instead(Instead),
}

impl FaultKind {
    fn effect(&self) -> Effect {
        Effect::Instead(match self {
            Self::Latency(latency) => return Effect::Latency(*latency),
            Self::Status { code, message } => {
                Instead::Error { code: *code, message: message.clone(), retry_after: None }
            }
            Self::RateLimited { retry_after } => Instead::Error {
                code: 429,
                message: "Too many requests".to_owned(),
                retry_after: Some(*retry_after),
            },
            Self::RetryAfter { code, message, retry_after } => Instead::Error {
                code: *code,
                message: message.clone(),
                retry_after: Some(*retry_after),
            },
            Self::Html { code } => Instead::Html { code: *code },
            Self::Hang => Instead::Hang,
            Self::Drop => Instead::Drop,
            Self::Reset => Instead::Damaged(Damage::Broken),
            Self::Truncated => Instead::Damaged(Damage::Short),
            Self::WrongItem => Instead::Damaged(Damage::OtherItem),
            Self::WrongTitle => Instead::Damaged(Damage::OtherTitle),
            Self::WrongVault => Instead::Damaged(Damage::OtherVault),
            Self::Repeated => Instead::Damaged(Damage::SameId),
        })
    }
}

fn millis<'de, D: serde::Deserializer<'de>>(from: D) -> Result<Duration, D::Error> {
    u64::deserialize(from).map(Duration::from_millis)
}

fn secs<'de, D: serde::Deserializer<'de>>(from: D) -> Result<Duration, D::Error> {
    u64::deserialize(from).map(Duration::from_secs)
}

/// Names a fault, to clear it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct FaultId(pub(crate) u64);

/// What the faults make of one request.
#[derive(Debug, Default)]
pub(crate) struct Verdict {
    pub(crate) latency: Duration,
    pub(crate) instead: Option<Instead>,
}

#[derive(Default)]
pub(crate) struct Faults {
    given: u64,
    active: Vec<(FaultId, FaultSpec)>,
}

impl Faults {
    pub(crate) fn add(&mut self, spec: FaultSpec) -> FaultId {
        self.given += 1;
        let id = FaultId(self.given);
        self.active.push((id, spec));
        id
    }

    pub(crate) fn clear(&mut self, id: FaultId) -> bool {
        let before = self.active.len();
        self.active.retain(|(other, _)| *other != id);
        self.active.len() != before
    }

    pub(crate) fn clear_all(&mut self) {
        self.active.clear();
    }

    /// Judges a request: all latencies, and the oldest of the other faults. Counts down those it used.
    pub(crate) fn judge(&mut self, route: &str, path: &str, subject: Subject) -> Verdict {
        let mut verdict = Verdict::default();
        for (_, fault) in &mut self.active {
            let meets = match &fault.route {
                RouteMatch::Any => true,
                RouteMatch::Template(template) => template == route,
                RouteMatch::Prefix(prefix) => path.starts_with(prefix.as_str()),
            };
            if !meets || fault.times == Some(0) {
                continue;
            }
            match fault.kind.effect() {
                Effect::Latency(latency) => verdict.latency += latency,
                Effect::Instead(_) if verdict.instead.is_some() => continue,
                Effect::Instead(Instead::Damaged(damage)) if !damage.meets(subject) => continue,
                Effect::Instead(instead) => verdict.instead = Some(instead),
            }
            if let Some(times) = &mut fault.times {
                *times -= 1;
            }
        }
        self.active.retain(|(_, fault)| fault.times != Some(0));
        verdict
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn faults_add_up_and_count_down() {
        let mut faults = Faults::default();
        let slow = faults.add(FaultSpec::new(FaultKind::Latency(Duration::from_millis(5))));
        faults.add(FaultSpec::new(FaultKind::Html { code: 502 }).on("GET /v1/vaults").times(1));
        faults.add(FaultSpec::new(FaultKind::WrongItem).under("/v1/vaults/x").times(1));
        let verdict = faults.judge("GET /v1/vaults", "/v1/vaults", Subject::Other);
        assert_eq!(verdict.latency, Duration::from_millis(5));
        assert!(matches!(verdict.instead, Some(Instead::Html { code: 502 })));
        assert!(faults.judge("GET /v1/vaults", "/v1/vaults", Subject::Other).instead.is_none());
        assert!(
            faults.judge("GET /v1/vaults/{v}", "/v1/vaults/x", Subject::Other).instead.is_none()
        );
        let item =
            faults.judge("GET /v1/vaults/{v}/items/{i}", "/v1/vaults/x/items/y", Subject::Item);
        assert!(matches!(item.instead, Some(Instead::Damaged(Damage::OtherItem))));
        assert!(faults.clear(slow) && !faults.clear(slow));
        assert_eq!(
            faults.judge("GET /v1/vaults", "/v1/vaults", Subject::Other).latency,
            Duration::ZERO
        );
    }

    #[test]
    fn faults_are_read_from_json() {
        let read = |text: &str| {
            serde_json::from_str::<FaultSpec>(text).unwrap_or_else(|e| panic!("{text}: {e}"))
        };
        let fault =
            read(r#"{"route":{"template":"GET /v1/vaults"},"kind":{"latency_ms":500},"times":2}"#);
        assert!(matches!(fault.kind, FaultKind::Latency(d) if d == Duration::from_millis(500)));
        assert_eq!(fault.times, Some(2));
        assert_eq!(read(r#"{"kind":"hang"}"#).route, RouteMatch::Any);
        assert!(matches!(
            read(r#"{"kind":{"status":{"code":503,"message":"x"}}}"#).kind,
            FaultKind::Status { .. }
        ));
        assert!(matches!(
            read(r#"{"kind":{"rate_limited":{"retry_after_s":3}},"route":"any"}"#).kind,
            FaultKind::RateLimited { .. }
        ));
        assert!(matches!(
            read(r#"{"kind":{"html":{"code":200}},"route":{"prefix":"/v1"}}"#).kind,
            FaultKind::Html { .. }
        ));
        let kind = r#"{"retry_after":{"code":503,"message":"x","retry_after_s":2}}"#;
        assert!(matches!(
            read(&format!(r#"{{"kind":{kind}}}"#)).kind,
            FaultKind::RetryAfter { code: 503, .. }
        ));
        for name in ["drop", "reset", "truncated", "wrong_title", "wrong_vault", "repeated"] {
            read(&format!(r#"{{"kind":"{name}"}}"#));
        }
    }

    #[test]
    fn a_wrong_body_meets_nothing_but_its_kind() {
        for (damage, item, vault, list, other) in [
            (Damage::OtherItem, true, false, false, false),
            (Damage::OtherTitle, true, false, false, false),
            (Damage::OtherVault, true, true, false, false),
            (Damage::SameId, false, false, true, false),
            (Damage::Short, true, true, true, true),
            (Damage::Broken, true, true, true, true),
        ] {
            let all = [Subject::Item, Subject::Vault, Subject::List, Subject::Other];
            assert_eq!(all.map(|s| damage.meets(s)), [item, vault, list, other], "{damage:?}");
        }
    }
}
