//! What `/metrics` says, in Prometheus' text format: a few figures, all true.

use std::fmt::Write as _;

use crate::requests::RequestCounts;

/// Requests by route since the counts were last reset, requests unanswered now, vaults and items.
pub(crate) fn text(counts: &RequestCounts, in_flight: u64, size: (usize, usize)) -> String {
    let mut out = String::new();
    out += "# HELP connect_http_requests_total Requests, by route.\n";
    out += "# TYPE connect_http_requests_total counter\n";
    for (route, count) in &counts.by_route {
        let _ = writeln!(out, "connect_http_requests_total{{route=\"{route}\"}} {count}");
    }
    let (vaults, items) = size;
    for (name, help, figure) in [
        ("connect_http_requests_in_flight", "Requests without an answer yet.", in_flight),
        ("connect_vaults", "Vaults.", vaults as u64),
        ("connect_items", "Items in all vaults.", items as u64),
    ] {
        let _ = writeln!(out, "# HELP {name} {help}\n# TYPE {name} gauge\n{name} {figure}");
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_figure_has_a_help_and_a_type() {
        let mut counts = RequestCounts::default();
        counts.by_route.insert("GET /health".to_owned(), 2);
        let text = text(&counts, 1, (3, 4));
        assert!(text.contains("connect_http_requests_total{route=\"GET /health\"} 2\n"), "{text}");
        assert!(text.contains("connect_items 4\n"), "{text}");
        let samples = text.lines().filter(|line| !line.starts_with('#')).count();
        assert_eq!((samples, text.matches("# TYPE").count()), (4, 4));
    }
}
