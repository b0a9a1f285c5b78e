use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};

use super::Reason;

/// The condition types that Portcullis writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ConditionType {
    /// The object does what it is for.
    Ready,
    /// kstatus: the operator is still working towards the spec, and will get there without help or once something heals.
    Reconciling,
    /// kstatus: the operator cannot go on without a change.
    Stalled,
    /// The decision allows the request.
    Authorized,
    /// The Secret holds what 1Password holds.
    Synced,
    /// Connect answers.
    Reachable,
    /// Connect accepts the token.
    TokenValid,
    /// The cache survives a restart.
    CachePersisted,
    /// The policy can be evaluated.
    Valid,
}

impl ConditionType {
    /// The condition's `type`.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Ready => "Ready",
            Self::Reconciling => "Reconciling",
            Self::Stalled => "Stalled",
            Self::Authorized => "Authorized",
            Self::Synced => "Synced",
            Self::Reachable => "Reachable",
            Self::TokenValid => "TokenValid",
            Self::CachePersisted => "CachePersisted",
            Self::Valid => "Valid",
        }
    }
}

/// The longest message a condition carries, in characters; the API server allows 32,768 bytes.
const MESSAGE_LIMIT: usize = 1024;

/// A set of conditions under construction, which keeps the transition times of the ones it replaces.
#[derive(Clone, Debug)]
pub struct Conditions {
    previous: Vec<Condition>,
    next: Vec<Condition>,
    generation: Option<i64>,
    now: Time,
}

impl Conditions {
    /// Starts a set that replaces `previous`: what is not set again is absent afterwards.
    #[must_use]
    pub fn replacing(previous: &[Condition], generation: Option<i64>, now: Time) -> Self {
        Self { previous: previous.to_vec(), next: Vec::with_capacity(5), generation, now }
    }

    /// Sets a condition. Its transition time moves only with its status, or the write of a status
    /// would cause the next one.
    #[must_use]
    pub fn set(
        mut self,
        type_: ConditionType,
        holds: Option<bool>,
        reason: Reason,
        message: &str,
    ) -> Self {
        let status = match holds {
            Some(true) => "True",
            Some(false) => "False",
            None => "Unknown",
        };
        let last_transition_time = self
            .previous
            .iter()
            .find(|c| c.type_ == type_.as_str() && c.status == status)
            .map_or_else(|| self.now.clone(), |c| c.last_transition_time.clone());
        self.next.push(Condition {
            type_: type_.as_str().to_owned(),
            status: status.to_owned(),
            reason: reason.as_str().to_owned(),
            message: message.chars().take(MESSAGE_LIMIT).collect(),
            observed_generation: self.generation,
            last_transition_time,
        });
        self
    }

    /// Keeps a condition as it was, with the generation that it speaks of, if there was one.
    #[must_use]
    pub fn keep(mut self, type_: ConditionType) -> Self {
        self.next.extend(self.previous.iter().find(|c| c.type_ == type_.as_str()).cloned());
        self
    }

    /// Keeps a condition as it was, if there was one, and says that it holds for the generation of now.
    #[must_use]
    pub fn renew(mut self, type_: ConditionType) -> Self {
        let known = self.previous.iter().find(|c| c.type_ == type_.as_str()).cloned();
        let generation = self.generation;
        self.next.extend(known.map(|c| Condition { observed_generation: generation, ..c }));
        self
    }

    /// The finished list.
    #[must_use]
    pub fn finish(self) -> Vec<Condition> {
        self.next
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: i64) -> Time {
        Time(k8s_openapi::jiff::Timestamp::from_second(second).unwrap())
    }

    #[test]
    fn a_transition_time_moves_with_the_status_alone() {
        let first = Conditions::replacing(&[], Some(1), at(1))
            .set(ConditionType::Ready, Some(false), Reason::ConnectUnavailable, "a")
            .finish();
        let second = Conditions::replacing(&first, Some(2), at(2))
            .set(ConditionType::Ready, Some(false), Reason::ItemNotFound, "b")
            .finish();
        assert_eq!(second[0].last_transition_time, at(1));
        let third = Conditions::replacing(&second, Some(2), at(3))
            .set(ConditionType::Ready, Some(true), Reason::Synced, "c")
            .finish();
        assert_eq!(third[0].last_transition_time, at(3));
    }

    #[test]
    fn what_is_not_set_again_is_absent() {
        let first = Conditions::replacing(&[], None, at(1))
            .set(ConditionType::Stalled, Some(true), Reason::Denied, "")
            .finish();
        assert!(Conditions::replacing(&first, None, at(2)).finish().is_empty());
    }
}
