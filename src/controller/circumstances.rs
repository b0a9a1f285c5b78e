//! What a request is weighed by besides facts: the occasion, and what passes.

use super::examine::Knowledge;
use crate::api::Occasion;
use crate::behavior::History;
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
        let (occasion, transient) = match weighing {
            Weighing::Durable(occasion) => (occasion, None),
            Weighing::Whole(occasion) => {
                let transient = Transient {
                    now: chrono::Utc::now(),
                    anomalies: Vec::new(),
                    history: History::default(),
                    service: service_facts(view),
                };
                (occasion, Some(transient))
            }
        };
        decide(facts, &Circumstances { occasion, transient }, access, &policies)
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
