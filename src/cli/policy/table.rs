//! `portcullis policy test`: tables of requests and what is to be decided on them.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use chrono::{DateTime, Utc};
use clap::Args;
use serde::Deserialize;

use crate::api::{ConnectServerSpec, CredentialRequestSpec, Occasion};
use crate::behavior::{Anomaly, Detector, History};
use crate::cli::files::{self, Class, FileError};
use crate::cli::print::{FAILED, came_to, failed};
use crate::plan::{Given, PlanError, plan};
use crate::policy::{Circumstances, PolicySet, Requester, ServiceFacts, Transient, Verdict};

#[derive(Debug, Args)]
pub(super) struct Test {
    /// The tables; docs/policies.md has their form.
    #[arg(short = 'f', long = "file", required = true)]
    files: Vec<PathBuf>,
}

/// A table.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Table {
    /// Files with CredentialPolicies, from the table's own folder.
    policies: Vec<PathBuf>,
    /// A file with the ConnectServer; without one every vault may be read.
    server: Option<PathBuf>,
    /// What holds for every case that does not say otherwise.
    #[serde(default)]
    defaults: Case,
    tests: Vec<NamedCase>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct NamedCase {
    name: String,
    #[serde(default)]
    given: Case,
    expect: Expected,
}

/// What a request is decided on.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Case {
    namespace: Option<String>,
    labels: Option<BTreeMap<String, String>>,
    request: Option<String>,
    purpose: Option<String>,
    environment: Option<String>,
    consumer: Option<String>,
    refs: Option<Vec<Ref>>,
    requester: Option<RequesterCase>,
    occasion: Option<Occasion>,
    now: Option<DateTime<Utc>>,
    anomalies: Option<Vec<String>>,
    history: Option<History>,
    service: Option<ServiceFacts>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(untagged)]
enum Ref {
    Plain(String),
    Typed {
        #[serde(rename = "ref")]
        reference: String,
        #[serde(rename = "type")]
        type_: String,
    },
}

#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct RequesterCase {
    name: String,
    #[serde(default)]
    verified: bool,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Expected {
    outcome: String,
    score: Option<i32>,
    reason: Option<String>,
    rules: Option<Vec<String>>,
}

#[derive(Debug, thiserror::Error)]
enum TestError {
    #[error(transparent)]
    File(#[from] FileError),
    #[error("{test}: {error}")]
    Plan { test: String, error: PlanError },
    #[error("{test}: there is no detector {detector}")]
    Detector { test: String, detector: String },
    #[error("{test}: {error}")]
    Reference { test: String, error: crate::reference::ParseError },
    #[error("{test}: the request cannot be made of it: {error}")]
    Request { test: String, error: serde_json::Error },
}

impl Test {
    pub(super) fn run(self) -> ExitCode {
        let (mut passed, mut wrong) = (0, Vec::new());
        for file in &self.files {
            match run_table(file) {
                Ok(results) => {
                    for (name, difference) in results {
                        match difference {
                            None => passed += 1,
                            Some(difference) => wrong.push(format!("{name}: {difference}")),
                        }
                    }
                }
                Err(error) => return failed(&error),
            }
        }
        for line in &wrong {
            eprintln!("not as expected: {line}");
        }
        eprintln!("{passed} as expected, {} not", wrong.len());
        match (wrong.is_empty(), passed) {
            (true, 0) => ExitCode::from(FAILED),
            (true, _) => ExitCode::SUCCESS,
            (false, _) => ExitCode::FAILURE,
        }
    }
}

/// Each test of a table by name, with how it came out otherwise, if it did.
fn run_table(file: &Path) -> Result<Vec<(String, Option<String>)>, TestError> {
    let table: Table = files::whole(file)?;
    let folder = file.parent().unwrap_or(Path::new("."));
    let paths: Vec<PathBuf> = table.policies.iter().map(|path| folder.join(path)).collect();
    let policies = files::policies(paths.iter().map(PathBuf::as_path), Class::Any)?;
    let server = match &table.server {
        Some(path) => Some(files::server(&folder.join(path))?.spec),
        None => None,
    };
    let tests = table.tests.into_iter();
    tests.map(|test| run_case(test, &table.defaults, server.as_ref(), &policies)).collect()
}

fn run_case(
    test: NamedCase,
    defaults: &Case,
    server: Option<&ConnectServerSpec>,
    policies: &PolicySet,
) -> Result<(String, Option<String>), TestError> {
    let NamedCase { name, given, expect } = test;
    let given = given.over(defaults).given(&name, server)?;
    let plan =
        plan(given, policies).map_err(|error| TestError::Plan { test: name.clone(), error })?;
    let difference = expect.difference(&plan.verdict);
    Ok((name, difference))
}

impl Case {
    fn over(self, defaults: &Self) -> Self {
        let d = defaults.clone();
        Self {
            namespace: self.namespace.or(d.namespace),
            labels: self.labels.or(d.labels),
            request: self.request.or(d.request),
            purpose: self.purpose.or(d.purpose),
            environment: self.environment.or(d.environment),
            consumer: self.consumer.or(d.consumer),
            refs: self.refs.or(d.refs),
            requester: self.requester.or(d.requester),
            occasion: self.occasion.or(d.occasion),
            now: self.now.or(d.now),
            anomalies: self.anomalies.or(d.anomalies),
            history: self.history.or(d.history),
            service: self.service.or(d.service),
        }
    }

    fn given(self, test: &str, server: Option<&ConnectServerSpec>) -> Result<Given, TestError> {
        let mut types = BTreeMap::new();
        let mut data = Vec::new();
        for (number, reference) in self.refs.unwrap_or_default().into_iter().enumerate() {
            let text = match reference {
                Ref::Plain(text) => text,
                Ref::Typed { reference, type_ } => {
                    let parsed: crate::reference::Reference = reference
                        .parse()
                        .map_err(|error| TestError::Reference { test: test.to_owned(), error })?;
                    types.insert((parsed.vault, parsed.item), type_);
                    reference
                }
            };
            data.push(serde_json::json!({"key": format!("KEY_{number}"), "ref": text}));
        }
        let consumer = self.consumer.map(|name| serde_json::json!({ "serviceAccountName": name }));
        let spec = serde_json::json!({
            "purpose": self.purpose.unwrap_or_default(),
            "data": data,
            "environment": self.environment,
            "consumer": consumer,
        });
        let spec: CredentialRequestSpec = serde_json::from_value(spec)
            .map_err(|error| TestError::Request { test: test.to_owned(), error })?;
        let anomalies = self.anomalies.unwrap_or_default().into_iter();
        let anomalies = anomalies.map(|name| {
            let message = name.clone();
            Detector::named(&name)
                .map(|detector| Anomaly { detector, message })
                .ok_or(TestError::Detector { test: test.to_owned(), detector: name })
        });
        let transient = Transient {
            now: self.now.unwrap_or_else(Utc::now),
            anomalies: anomalies.collect::<Result<_, _>>()?,
            history: self.history.unwrap_or_default(),
            service: self
                .service
                .unwrap_or(ServiceFacts { reachable: true, seconds_since_answer: 0 }),
            lasts: Transient::LASTS,
        };
        Ok(Given {
            namespace: self.namespace.unwrap_or_else(|| "default".to_owned()),
            name: self.request.unwrap_or_else(|| "request".to_owned()),
            spec,
            labels: self.labels.unwrap_or_default(),
            server: server.cloned(),
            types,
            requester: self.requester.map(|r| Requester { name: r.name, verified: r.verified }),
            circumstances: Circumstances {
                occasion: self.occasion.unwrap_or(Occasion::Grant),
                transient: Some(transient),
            },
            past: None,
        })
    }
}

impl Expected {
    /// How a verdict differs from what is expected.
    fn difference(&self, verdict: &Verdict) -> Option<String> {
        let decision = verdict.decision();
        let outcome = came_to(verdict);
        let rules: Vec<&str> = decision.factors.iter().map(|f| f.rule.as_str()).collect();
        let mut text = String::new();
        let mut differs = |what: &str, expected: &str, found: &str| {
            if expected != found {
                let _ = write!(text, "{what} is {found} and not {expected}; ");
            }
        };
        differs("outcome", &self.outcome, outcome);
        if let Some(score) = self.score {
            differs("score", &score.to_string(), &decision.risk_score.to_string());
        }
        if let Some(reason) = &self.reason {
            differs("reason", reason, decision.reason.as_str());
        }
        if let Some(expected) = &self.rules {
            let (mut expected, mut found) = (expected.clone(), rules.clone());
            expected.sort();
            found.sort_unstable();
            differs("rules", &expected.join(", "), &found.join(", "));
        }
        (!text.is_empty()).then(|| format!("{text}the decision: {}", decision.message))
    }
}
