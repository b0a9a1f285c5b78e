//! Time cut into columns of equal width: never more than a chart can show.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};

use super::Outcomes;

/// The most columns.
const COLUMNS: i64 = 62;
const MINUTE: i64 = 60;
const HOUR: i64 = 60 * MINUTE;
const DAY: i64 = 24 * HOUR;
/// Widths in seconds; each is a multiple of the one before.
const WIDTHS: [i64; 11] = [
    MINUTE,
    5 * MINUTE,
    15 * MINUTE,
    30 * MINUTE,
    HOUR,
    3 * HOUR,
    6 * HOUR,
    12 * HOUR,
    DAY,
    7 * DAY,
    28 * DAY,
];

/// Decisions of a column.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Column {
    /// Decisions by outcome.
    pub outcomes: Outcomes,
    /// The sum of their scores.
    pub risk_sum: u64,
    /// The number of scores in it.
    pub scored: u64,
    /// The highest score.
    pub risk_max: u64,
}

impl Column {
    fn add(&mut self, other: &Self) {
        for (mine, theirs) in self.outcomes.iter_mut().zip(other.outcomes) {
            *mine += theirs;
        }
        self.risk_sum += other.risk_sum;
        self.scored += other.scored;
        self.risk_max = self.risk_max.max(other.risk_max);
    }
}

/// Columns by the time at which they begin.
#[derive(Clone, Debug)]
pub struct Timeline {
    width: i64,
    columns: BTreeMap<i64, Column>,
}

impl Default for Timeline {
    fn default() -> Self {
        Self { width: MINUTE, columns: BTreeMap::new() }
    }
}

impl Timeline {
    pub(super) fn add(&mut self, time: DateTime<Utc>, what: &Column) {
        let at = time.timestamp();
        self.columns.entry(at.div_euclid(self.width)).or_default().add(what);
        while self.span() > COLUMNS {
            let wider = WIDTHS.into_iter().find(|w| *w > self.width).unwrap_or(self.width * 2);
            let factor = wider / self.width;
            let narrow = std::mem::take(&mut self.columns);
            for (index, column) in narrow {
                self.columns.entry(index.div_euclid(factor)).or_default().add(&column);
            }
            self.width = wider;
        }
    }

    fn span(&self) -> i64 {
        let ends = self.columns.first_key_value().zip(self.columns.last_key_value());
        ends.map_or(0, |((first, _), (last, _))| last.saturating_sub(*first).saturating_add(1))
    }

    /// Every column from the first to the last, with the time at which it begins.
    pub(super) fn columns(&self) -> Vec<(DateTime<Utc>, Column)> {
        let Some((first, _)) = self.columns.first_key_value() else { return Vec::new() };
        (*first..*first + self.span())
            .filter_map(|index| {
                let time = DateTime::from_timestamp(index.checked_mul(self.width)?, 0)?;
                Some((time, self.columns.get(&index).cloned().unwrap_or_default()))
            })
            .collect()
    }

    /// How a column's time is written.
    pub(super) fn format(&self) -> &'static str {
        if self.width >= DAY { "%Y-%m-%d" } else { "%Y-%m-%d %H:%M" }
    }

    /// The width in words.
    pub(super) fn width(&self) -> String {
        match self.width {
            DAY => "one day".to_owned(),
            HOUR => "one hour".to_owned(),
            MINUTE => "one minute".to_owned(),
            width if width >= DAY => format!("{} days", width / DAY),
            width if width >= HOUR => format!("{} hours", width / HOUR),
            width => format!("{} minutes", width / MINUTE),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_grow_with_the_time_and_lose_nothing() {
        let column = Column { outcomes: [1, 0, 0, 0, 0, 0], risk_sum: 3, scored: 1, risk_max: 3 };
        for (step, count) in [(1, 10), (60, 300), (3600, 2000), (86_400, 3000), (86_400 * 400, 90)]
        {
            let mut timeline = Timeline::default();
            for n in 0..count {
                let time = DateTime::from_timestamp(1_770_000_000 + n * step, 0).unwrap();
                timeline.add(time, &column);
            }
            let columns = timeline.columns();
            assert!(columns.len() <= 62, "{}", columns.len());
            let total: u64 = columns.iter().map(|(_, c)| c.outcomes[0]).sum();
            assert_eq!(total, count as u64);
        }
    }
}
