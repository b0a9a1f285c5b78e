use std::time::Duration;

/// Reads a duration as Kubernetes spells it: `1h30m`, `30s`, `200ms`
/// (<https://gateway-api.sigs.k8s.io/geps/gep-2257/>).
pub(crate) fn parse_duration(text: &str) -> Option<Duration> {
    let mut total = Duration::ZERO;
    let mut rest = text;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit())?;
        let (number, tail) = rest.split_at_checked(digits)?;
        let unit = tail.find(|c: char| c.is_ascii_digit()).unwrap_or(tail.len());
        let (unit, tail) = tail.split_at_checked(unit)?;
        let number: u64 = number.parse().ok()?;
        total += match unit {
            "h" => Duration::from_secs(number.checked_mul(3600)?),
            "m" => Duration::from_secs(number.checked_mul(60)?),
            "s" => Duration::from_secs(number),
            "ms" => Duration::from_millis(number),
            _ => return None,
        };
        rest = tail;
    }
    (!text.is_empty()).then_some(total)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_read_as_kubernetes_spells_them() {
        for (text, millis) in
            [("30s", 30_000), ("1h30m", 5_400_000), ("200ms", 200), ("1m5s", 65_000)]
        {
            assert_eq!(parse_duration(text), Some(Duration::from_millis(millis)), "{text}");
        }
        for text in ["", "30", "s", "1d", "1.5h", "-1s"] {
            assert_eq!(parse_duration(text), None, "{text}");
        }
    }
}
