//! The figures of a run.

use std::time::Duration;

/// Prints each figure as it comes, and all of them at the end, as one line of JSON.
#[derive(Default)]
pub struct Figures(serde_json::Map<String, serde_json::Value>);

impl Figures {
    /// A time in seconds.
    pub fn seconds(&mut self, name: &str, time: Duration) {
        self.number(name, time.as_secs_f64());
    }

    /// A size in MiB.
    pub fn mebibytes(&mut self, name: &str, bytes: f64) {
        self.number(name, bytes / f64::from(1 << 20));
    }

    /// Any other number.
    pub fn number(&mut self, name: &str, value: f64) {
        let value = (value * 100.0).round() / 100.0;
        eprintln!("    {name}: {value}");
        self.0.insert(name.to_owned(), value.into());
    }

    /// Prints them all.
    pub fn print(self) {
        eprintln!("{}", serde_json::Value::Object(self.0));
    }
}
