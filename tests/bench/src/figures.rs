use std::fs;
use std::path::Path;
use std::time::Duration;

use anyhow::Context as _;
use serde_json::{Map, Value, json};

/// Measured values, in the order of measuring.
#[derive(Default)]
pub(crate) struct Figures {
    rows: Vec<(&'static str, f64, &'static str)>,
}

impl Figures {
    /// Adds a figure and prints it.
    pub(crate) fn add(&mut self, name: &'static str, value: f64, unit: &'static str) {
        let value = (value * 100.0).round() / 100.0;
        #[expect(clippy::print_stdout, reason = "this is the program's output")]
        {
            println!("{name} {value} {unit}");
        }
        self.rows.push((name, value, unit));
    }

    /// Adds a duration in milliseconds.
    pub(crate) fn add_ms(&mut self, name: &'static str, value: Duration) {
        self.add(name, value.as_secs_f64() * 1000.0, "ms");
    }

    /// Writes all of them as JSON.
    pub(crate) fn write(&self, path: &Path) -> anyhow::Result<()> {
        let all: Map<String, Value> = self
            .rows
            .iter()
            .map(|(name, value, unit)| ((*name).to_owned(), json!({"value": value, "unit": unit})))
            .collect();
        if let Some(folder) = path.parent() {
            fs::create_dir_all(folder)
                .with_context(|| format!("cannot make {}", folder.display()))?;
        }
        fs::write(path, serde_json::to_string_pretty(&all)?)
            .with_context(|| format!("cannot write {}", path.display()))
    }
}

/// The value below which a share of the sorted values lies.
pub(crate) fn percentile(sorted: &[Duration], share: f64) -> Duration {
    let last = sorted.len().saturating_sub(1);
    let position = (last as f64 * share).ceil() as usize;
    sorted.get(position.min(last)).copied().unwrap_or_default()
}
