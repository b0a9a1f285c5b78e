use std::borrow::Cow;
use std::fs;
use std::path::Path;
use std::time::Duration;

use anyhow::Context as _;
use serde_json::{Map, Value, json};

/// The name of a figure.
type Name = Cow<'static, str>;

/// Measured values, in the order of measuring.
#[derive(Default)]
pub(crate) struct Figures {
    rows: Vec<Row>,
}

struct Row {
    name: Name,
    value: f64,
    unit: &'static str,
    /// The most that it should be. Times have none, since they depend on the machine, but for that of a decision.
    aim: Option<f64>,
}

impl Figures {
    /// Adds a figure and prints it.
    pub(crate) fn add(&mut self, name: impl Into<Name>, value: f64, unit: &'static str) {
        self.push(name.into(), value, unit, None);
    }

    /// Adds a figure that should be no more than `aim`.
    pub(crate) fn aim(&mut self, name: impl Into<Name>, value: f64, unit: &'static str, aim: f64) {
        self.push(name.into(), value, unit, Some(aim));
    }

    /// Adds a count that should be no more than `aim`.
    #[expect(clippy::cast_precision_loss, reason = "counts are small")]
    pub(crate) fn count(
        &mut self,
        name: impl Into<Name>,
        value: u64,
        unit: &'static str,
        aim: u64,
    ) {
        self.push(name.into(), value as f64, unit, Some(aim as f64));
    }

    /// Adds a duration in milliseconds.
    pub(crate) fn add_ms(&mut self, name: impl Into<Name>, value: Duration) {
        self.add(name, value.as_secs_f64() * 1000.0, "ms");
    }

    fn push(&mut self, name: Name, value: f64, unit: &'static str, aim: Option<f64>) {
        let value = (value * 100.0).round() / 100.0;
        let row = Row { name, value, unit, aim };
        let name = &row.name;
        let told = match aim {
            None => String::new(),
            Some(aim) if row.is_missed() => format!("  aim {aim}: MISSED"),
            Some(aim) => format!("  aim {aim}: met"),
        };
        #[expect(clippy::print_stdout, reason = "this is the program's output")]
        {
            println!("{}", format!("{name} {value} {unit}{told}").trim_end());
        }
        self.rows.push(row);
    }

    /// The names of the figures that are more than their aim.
    pub(crate) fn missed(&self) -> Vec<&str> {
        self.rows.iter().filter(|row| row.is_missed()).map(|row| &*row.name).collect()
    }

    /// Writes all of them as JSON.
    pub(crate) fn write(&self, path: &Path) -> anyhow::Result<()> {
        let all: Map<String, Value> =
            self.rows.iter().map(|row| (row.name.to_string(), row.json())).collect();
        if let Some(folder) = path.parent() {
            fs::create_dir_all(folder)
                .with_context(|| format!("cannot make {}", folder.display()))?;
        }
        fs::write(path, serde_json::to_string_pretty(&all)?)
            .with_context(|| format!("cannot write {}", path.display()))
    }
}

impl Row {
    fn is_missed(&self) -> bool {
        self.aim.is_some_and(|aim| self.value > aim)
    }

    fn json(&self) -> Value {
        let mut json = json!({"value": self.value, "unit": self.unit});
        if let Some(aim) = self.aim {
            json["aim"] = json!(aim);
        }
        json
    }
}

/// The value below which a share of the sorted values lies.
pub(crate) fn percentile(sorted: &[Duration], share: f64) -> Duration {
    let last = sorted.len().saturating_sub(1);
    let position = (last as f64 * share).ceil() as usize;
    sorted.get(position.min(last)).copied().unwrap_or_default()
}
