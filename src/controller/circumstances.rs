//! What a request is weighed by besides facts: the occasion, and what passes.

use chrono::{DateTime, TimeDelta, Utc};

use super::examine::Knowledge;
use crate::api::Occasion;
use crate::behavior::{Attempt, Seen};
use crate::policy::{Access, Circumstances, Facts, ServiceFacts, Transient, Verdict, decide};
use crate::vaults::{Health, View};

/// What a request is weighed by.
#[derive(Clone, Copy, Debug)]
pub(super) enum Weighing {
    /// By everything.
    Whole(Occasion),
    /// By durable facts alone: whether what was granted still stands.
    Durable(Occasion),
}

impl Knowledge {
    /// Weighs the facts, and what passes where that counts.
    pub(super) fn decide(
        &self,
        facts: Facts,
        weighing: Weighing,
        access: &Access<'_>,
        view: &View,
    ) -> Verdict {
        let policies = self.policies.set();
        let now = chrono::Utc::now();
        let service = service_facts(view);
        let lasts = TimeDelta::from_std(self.settings.redecide_interval).unwrap_or(TimeDelta::MAX);
        let circumstances = |occasion, anomalies, history| {
            let transient = Transient { now, anomalies, history, service, lasts };
            Circumstances { occasion, transient: Some(transient) }
        };
        match weighing {
            Weighing::Durable(occasion) => {
                decide(facts, &Circumstances { occasion, transient: None }, access, &policies)
            }
            // A refresh of the operator's own is no access: nothing about it is unusual.
            Weighing::Whole(Occasion::Refresh) => {
                let history = self.profiles.history(&self.attempt(&facts, now));
                let circumstances = circumstances(Occasion::Refresh, Vec::new(), history);
                decide(facts, &circumstances, access, &policies)
            }
            Weighing::Whole(Occasion::Grant) => {
                let attempt = self.attempt(&facts, now);
                self.profiles.decide(&attempt, |seen| {
                    let Seen { anomalies, history } = seen;
                    let circumstances = circumstances(Occasion::Grant, anomalies, history);
                    decide(facts.clone(), &circumstances, access, &policies)
                })
            }
        }
    }

    /// What the facts are to past behaviour.
    fn attempt(&self, facts: &Facts, at: DateTime<Utc>) -> Attempt {
        let created = self.index.namespace_created(&facts.request.namespace);
        facts.attempt(created.map(Into::into), at)
    }
}

/// How the server is, as rules read it.
fn service_facts(view: &View) -> ServiceFacts {
    let since = match &view.health {
        Health::Failing(trouble) => trouble.since.elapsed().unwrap_or_default(),
        Health::Starting | Health::Good => {
            view.answered_at().map(|at| at.elapsed()).unwrap_or_default()
        }
    };
    ServiceFacts {
        reachable: view.health == Health::Good,
        seconds_since_answer: i64::try_from(since.as_secs()).unwrap_or(i64::MAX),
    }
}
