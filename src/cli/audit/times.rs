//! Times as people type them.

use chrono::{DateTime, NaiveDate, TimeDelta, Utc};

/// Reads a time (RFC 3339), a day in UTC (2026-03-01), or an age (90m, 24h, 7d).
pub(in crate::cli) fn time(text: &str) -> Result<DateTime<Utc>, &'static str> {
    const HELP: &str =
        "it must be a time (2026-03-01T09:00:00Z), a day (2026-03-01) or an age (90m, 24h, 7d)";
    if let Ok(time) = DateTime::parse_from_rfc3339(text) {
        return Ok(time.to_utc());
    }
    if let Ok(day) = text.parse::<NaiveDate>() {
        return day.and_hms_opt(0, 0, 0).map(|time| time.and_utc()).ok_or(HELP);
    }
    let unit = text.chars().last().ok_or(HELP)?;
    let number: i64 = text.strip_suffix(unit).and_then(|n| n.parse().ok()).ok_or(HELP)?;
    let age = match unit {
        'm' => TimeDelta::try_minutes(number),
        'h' => TimeDelta::try_hours(number),
        'd' => TimeDelta::try_days(number),
        _ => None,
    };
    age.filter(|_| number >= 0).and_then(|age| Utc::now().checked_sub_signed(age)).ok_or(HELP)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_days_and_ages_are_read_and_nothing_else() {
        assert_eq!(time("2026-03-01T10:00:00+01:00"), time("2026-03-01T09:00:00Z"));
        assert_eq!(time("2026-03-01"), time("2026-03-01T00:00:00Z"));
        assert!(time("24h").unwrap() < Utc::now() - TimeDelta::hours(23));
        for wrong in ["", "h", "-1h", "5y", "yesterday", "99999999999999d", "2026-13-01", "1ß"] {
            assert!(time(wrong).is_err(), "{wrong}");
        }
    }
}
