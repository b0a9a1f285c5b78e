use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;

use crate::api::{Outcome, Reason};

/// Edges of the histogram of risk. A score is a whole number, and what counts is whether it reaches a threshold: 49 and
/// 69 are the last below those that a policy has where it names none.
const RISKS: [f64; 12] = [10., 20., 30., 40., 49., 50., 60., 69., 70., 80., 90., 100.];

/// The metrics of decisions and of what they are weighed by.
#[derive(Debug)]
pub struct DecisionMetrics {
    decisions: Family<OutcomeLabels, Counter>,
    by_policy: Family<PolicyLabels, Counter>,
    risk: Histogram,
    rule_errors: Family<RuleLabels, Counter>,
    holds: Counter,
    anomalies: Family<DetectorLabel, Counter>,
    profiles_rebuilt: Family<CauseLabel, Counter>,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct OutcomeLabels {
    outcome: &'static str,
    reason: &'static str,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct PolicyLabels {
    policy: String,
    outcome: &'static str,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct RuleLabels {
    policy: String,
    rule: String,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct DetectorLabel {
    detector: &'static str,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct CauseLabel {
    cause: &'static str,
}

impl DecisionMetrics {
    pub(super) fn new() -> Self {
        Self {
            decisions: Family::default(),
            by_policy: Family::default(),
            risk: Histogram::new(RISKS),
            rule_errors: Family::default(),
            holds: Counter::default(),
            anomalies: Family::default(),
            profiles_rebuilt: Family::default(),
        }
    }

    pub(super) fn register(&self, registry: &mut Registry) {
        registry.register(
            "decisions",
            "Decisions that differ from the one before",
            self.decisions.clone(),
        );
        registry.register(
            "policy_decisions",
            "What each policy that applies came to in them",
            self.by_policy.clone(),
        );
        registry.register("decision_risk", "The risk of these decisions", self.risk.clone());
        registry.register(
            "rule_errors",
            "Rules that had no answer in them, and denied for that",
            self.rule_errors.clone(),
        );
        registry.register(
            "policy_holds",
            "Refreshes that were due and that a policy held",
            self.holds.clone(),
        );
        registry.register(
            "anomalies",
            "What was unusual about requests, by detector",
            self.anomalies.clone(),
        );
        registry.register(
            "access_profiles_rebuilt",
            "Access profiles that were not as they were written",
            self.profiles_rebuilt.clone(),
        );
    }

    /// A decision differs from the one before, with a risk of 0 to 100.
    pub fn decided(&self, outcome: Outcome, reason: Reason, risk: i32) {
        let labels = OutcomeLabels { outcome: outcome.as_str(), reason: reason.as_str() };
        self.decisions.get_or_create(&labels).inc();
        self.risk.observe(f64::from(risk));
    }

    /// What a policy came to in one.
    pub fn policy_decided(&self, policy: &str, outcome: Outcome) {
        let labels = PolicyLabels { policy: policy.to_owned(), outcome: outcome.as_str() };
        self.by_policy.get_or_create(&labels).inc();
    }

    /// A rule had no answer in one.
    pub fn rule_failed(&self, policy: &str, rule: &str) {
        let labels = RuleLabels { policy: policy.to_owned(), rule: rule.to_owned() };
        self.rule_errors.get_or_create(&labels).inc();
    }

    /// A refresh was due, and a policy held it.
    pub fn held(&self) {
        self.holds.inc();
    }

    /// Something was unusual about a request that was decided on for the first time.
    pub fn anomaly(&self, detector: &'static str) {
        self.anomalies.get_or_create(&DetectorLabel { detector }).inc();
    }

    /// An access profile was missing, foreign or broken.
    pub fn profile_rebuilt(&self, cause: &'static str) {
        self.profiles_rebuilt.get_or_create(&CauseLabel { cause }).inc();
    }
}
