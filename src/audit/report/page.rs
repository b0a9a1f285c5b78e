//! The page. Text of others goes through [`html`], and the page may load nothing and run nothing.

use std::fmt::Write as _;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use chrono::{DateTime, SecondsFormat, Utc};
use sha2::{Digest as _, Sha256};

use super::{OUTCOMES, Report, charts, top};
use crate::audit::text::html;

const STYLE: &str = include_str!("style.css");

/// The most rows of a table of the page; how many more there are is said.
const ROWS: usize = 2000;
const FACTORS: usize = 12;
const PROBLEMS: usize = 20;

/// A report as a page of HTML.
#[must_use]
pub fn page(report: &Report, now: DateTime<Utc>) -> String {
    let hash = STANDARD.encode(Sha256::digest(STYLE.as_bytes()));
    let mut page = format!(
        "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">\
         <meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'sha256-{hash}'; base-uri 'none'; form-action 'none'\">\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\"><meta name=\"referrer\" content=\"no-referrer\">\
         <title>Audit of credentials</title><style>{STYLE}</style></head><body><main>"
    );
    page.push_str(&head(report, now));
    page.push_str(&chain(report));
    page.push_str(&figures(report));
    page.push_str(&over_time(report));
    page.push_str(&factors(report));
    page.push_str(&denied(report));
    page.push_str(&served(report));
    page.push_str(&holders(report));
    page.push_str("</main></body></html>\n");
    page
}

fn time(time: DateTime<Utc>) -> String {
    time.to_rfc3339_opts(SecondsFormat::Secs, true)
}

fn head(report: &Report, now: DateTime<Utc>) -> String {
    let times = report.summary.times;
    let from = report.from.or(times.map(|(first, _)| first)).map_or_else(String::new, time);
    let to = report.to.or(times.map(|(_, last)| last)).map_or_else(String::new, time);
    let period = if from.is_empty() { "no records".to_owned() } else { format!("{from} to {to}") };
    let skipped = match report.skipped {
        0 => String::new(),
        n => format!(" {n} lines of the files are no records."),
    };
    format!(
        "<header><h1>Audit of credentials</h1><p>{period}</p><p class=\"soft\">Who was granted which items of 1Password, \
         and why. Made by Portcullis {} on {}; all times are UTC. No value of a credential is in the records or on this page.{skipped}</p></header>",
        env!("CARGO_PKG_VERSION"),
        time(now)
    )
}

fn chain(report: &Report) -> String {
    let Some(findings) = &report.findings else {
        return "<section class=\"chain\" id=\"chain\"><strong>Not verified</strong><p>Nobody has checked whether these records are as they were written, and complete: <code>portcullis audit verify</code> does.</p></section>".to_owned();
    };
    let (class, title, text) = if findings.is_clean() && report.summary.lost > 0 {
        (
            "bad",
            "Incomplete",
            "Every record is as the operator wrote it, and some were never written: it was told to go on without (--audit-on-failure=alert).",
        )
    } else if findings.is_clean() && !findings.notes.is_empty() {
        (
            "good",
            "Verified",
            "Every record is as the operator wrote it, and none is missing but for what the notes say.",
        )
    } else if findings.is_clean() {
        ("good", "Verified", "Every record is as the operator wrote it, and none is missing.")
    } else {
        (
            "bad",
            "Broken",
            "The records were changed, or some are missing: what this page says may be wrong.",
        )
    };
    let mut out = format!(
        "<section class=\"chain {class}\" id=\"chain\"><strong>{title}</strong><p>{text} {} records of {} streams were read.</p>",
        findings.records,
        findings.streams.len()
    );
    if report.summary.lost > 0 {
        let _ = write!(out, "<p>{} records were given up.</p>", report.summary.lost);
    }
    let problems = findings.problems.iter().take(PROBLEMS).map(ToString::to_string);
    let more = findings.problems.len().saturating_sub(PROBLEMS);
    let more = (more > 0).then(|| format!("and {more} more"));
    let notes = findings.notes.iter().map(|note| format!("note: {note}"));
    let lines: Vec<String> =
        problems.chain(more).chain(notes).map(|line| format!("<li>{}</li>", html(&line))).collect();
    if !lines.is_empty() {
        let _ = write!(out, "<ul>{}</ul>", lines.concat());
    }
    out.push_str("</section>");
    out
}

fn figures(report: &Report) -> String {
    let summary = &report.summary;
    let changes: u64 =
        summary.changes.iter().filter(|(change, _)| *change != "confirmed").map(|(_, n)| n).sum();
    let served: u64 = summary.served.values().map(|s| s.times).sum();
    let mut figures: Vec<(String, u64)> = vec![("Records".to_owned(), summary.records)];
    figures.push(("Decisions".to_owned(), summary.outcomes.iter().sum()));
    let named = OUTCOMES.iter().zip(summary.outcomes);
    figures.extend(
        named
            .filter(|(name, count)| *count > 0 || ["Allowed", "Alerted", "Denied"].contains(name))
            .map(|(name, count)| (words(name).to_owned(), count)),
    );
    figures.push(("Changes of Secrets".to_owned(), changes));
    figures.push(("Served without Connect".to_owned(), served));
    figures.push(("Secrets held".to_owned(), summary.holders.len() as u64));
    figures.push(("Intents without an end".to_owned(), summary.open.len() as u64));
    let cells = figures.iter().map(|(name, n)| format!("<div><dt>{name}</dt><dd>{n}</dd></div>"));
    format!("<dl class=\"figures\" id=\"figures\">{}</dl>", cells.collect::<String>())
}

fn words(outcome: &str) -> &str {
    if outcome == "PendingApproval" { "Pending approval" } else { outcome }
}

/// A table: columns by name, those that hold figures marked, and rows of cells that are HTML already.
fn table(id: &str, caption: &str, columns: &[(&str, &str)], rows: &[Vec<String>]) -> String {
    let heads: String = columns
        .iter()
        .map(|(name, class)| format!("<th scope=\"col\" class=\"{class}\">{name}</th>"))
        .collect();
    let body: String = rows
        .iter()
        .take(ROWS)
        .map(|row| {
            let cells =
                row.iter().zip(columns).enumerate().map(|(at, (cell, (_, class)))| match at {
                    0 => format!("<th scope=\"row\" class=\"{class}\">{cell}</th>"),
                    _ => format!("<td class=\"{class}\">{cell}</td>"),
                });
            format!("<tr>{}</tr>", cells.collect::<String>())
        })
        .collect();
    let more = match rows.len().saturating_sub(ROWS) {
        0 => String::new(),
        n => format!(" The first {ROWS} rows; {n} more are left out, and audit list shows them."),
    };
    format!(
        "<div class=\"scroll\" tabindex=\"0\" role=\"region\" aria-label=\"{caption}\"><table id=\"{id}\"><caption>{caption}.{more}</caption><thead><tr>{heads}</tr></thead><tbody>{body}</tbody></table></div>"
    )
}

fn over_time(report: &Report) -> String {
    let timeline = &report.summary.timeline;
    let columns = timeline.columns();
    if columns.is_empty() {
        return "<section><h2>Decisions over time</h2><p>None was taken in this time.</p></section>".to_owned();
    }
    let shown: Vec<usize> = (0..OUTCOMES.len())
        .filter(|at| report.summary.outcomes.get(*at).is_some_and(|n| *n > 0))
        .collect();
    let name = |at: &usize| OUTCOMES.get(*at).copied().unwrap_or_default();
    let begin = |at: DateTime<Utc>| at.format(timeline.format()).to_string();
    let filled = || columns.iter().filter(|(_, c)| c.outcomes.iter().any(|n| *n > 0));

    let mut heads = vec![("From", "t")];
    heads.extend(shown.iter().map(|at| (words(name(at)), "n")));
    let rows: Vec<Vec<String>> = filled()
        .map(|(at, column)| {
            let counts =
                shown.iter().map(|n| column.outcomes.get(*n).copied().unwrap_or(0).to_string());
            std::iter::once(begin(*at)).chain(counts).collect()
        })
        .collect();
    let caption = format!("Decisions by outcome, each row {}", timeline.width());
    let key: String = shown
        .iter()
        .map(|at| {
            let class = name(at).to_lowercase();
            format!(
                "<li><svg viewBox=\"0 0 10 10\" aria-hidden=\"true\"><rect class=\"o-{class}\" width=\"10\" height=\"10\" rx=\"2\"/></svg>{}</li>",
                words(name(at))
            )
        })
        .collect();
    let mut out = format!(
        "<section><h2>Decisions by outcome</h2><div class=\"pair\"><figure>{}<figcaption><ul class=\"key\">{key}</ul></figcaption></figure>{}</div></section>",
        charts::outcomes(timeline),
        table("outcomes", &caption, &heads, &rows)
    );

    let rows: Vec<Vec<String>> = filled()
        .filter(|(_, column)| column.scored > 0)
        .map(|(at, column)| {
            // In tenths, rounded half up.
            let tenths = (column.risk_sum * 20 + column.scored) / (2 * column.scored);
            let average = format!("{}.{}", tenths / 10, tenths % 10);
            vec![begin(*at), column.risk_max.to_string(), average]
        })
        .collect();
    let caption = format!("Risk of 100, each row {}", timeline.width());
    let heads = [("From", "t"), ("Highest", "n"), ("Average", "n")];
    let _ = write!(
        out,
        "<section><h2>Risk</h2><div class=\"pair\"><figure>{}<figcaption class=\"soft\">The column is the highest score, the mark in it the average. Dashed: 50, from which policies alert, and 70, from which they deny, where they say nothing else.</figcaption></figure>{}</div></section>",
        charts::risk(timeline),
        table("risk", &caption, &heads, &rows)
    );
    out
}

fn factors(report: &Report) -> String {
    let found = top(&report.summary.factors, FACTORS);
    if found.is_empty() {
        return "<section><h2>Top factors</h2><p>No rule matched in this time.</p></section>"
            .to_owned();
    }
    let bars: Vec<(String, u64)> =
        found.iter().map(|((policy, rule), n)| (format!("{policy}: {rule}"), *n)).collect();
    let rows: Vec<Vec<String>> = found
        .iter()
        .map(|((policy, rule), n)| vec![html(policy), html(rule), n.to_string()])
        .collect();
    format!(
        "<section><h2>Top factors</h2><div class=\"pair\"><figure>{}<figcaption class=\"soft\">Rules that matched, by decisions.</figcaption></figure>{}</div></section>",
        charts::bars("chart-factors", "Rules that matched, by decisions", &bars),
        table(
            "factors",
            "Rules that matched, by decisions",
            &[("Policy", ""), ("Rule", ""), ("Decisions", "n")],
            &rows
        )
    )
}

fn denied(report: &Report) -> String {
    let summary = &report.summary;
    let merged = match summary.merged {
        0 => String::new(),
        n => format!(
            "<p class=\"soft\">{n} more denials came too fast to be recorded one by one, and are counted above alone.</p>"
        ),
    };
    if summary.denied.is_empty() {
        return format!(
            "<section><h2>Denied requests</h2><p>None is recorded.</p>{merged}</section>"
        );
    }
    let rows: Vec<Vec<String>> = summary
        .denied
        .iter()
        .map(|((namespace, request), denied)| {
            let texts = [namespace, request, &denied.reason, &denied.message, &denied.purpose];
            let mut row: Vec<String> = texts.map(|text| html(text)).to_vec();
            row.extend([denied.times.to_string(), time(denied.last)]);
            row
        })
        .collect();
    let heads = [
        ("Namespace", ""),
        ("Request", ""),
        ("Reason", ""),
        ("Message", ""),
        ("Purpose, as claimed", ""),
        ("Times", "n"),
        ("Last", "t"),
    ];
    format!(
        "<section><h2>Denied requests</h2>{merged}{}</section>",
        table("denied", "Denied requests, with the last reason", &heads, &rows)
    )
}

fn served(report: &Report) -> String {
    let summary = &report.summary;
    if summary.served.is_empty() {
        return "<section><h2>Served without Connect</h2><p>Nothing was delivered that 1Password Connect did not confirm.</p></section>".to_owned();
    }
    let rows: Vec<Vec<String>> = summary
        .served
        .iter()
        .map(|((namespace, request, source), served)| {
            let mut row: Vec<String> = [namespace, request, source].map(|text| html(text)).to_vec();
            row.extend([served.times.to_string(), time(served.last)]);
            row
        })
        .collect();
    let heads = [("Namespace", ""), ("Request", ""), ("Source", ""), ("Times", "n"), ("Last", "t")];
    format!(
        "<section><h2>Served without Connect</h2>{}</section>",
        table(
            "served",
            "Secrets that were made of what stood in for 1Password Connect",
            &heads,
            &rows
        )
    )
}

fn holders(report: &Report) -> String {
    let summary = &report.summary;
    let cut = if summary.cut {
        "<p>There are more than 100000 of something here: what came after that is not in the tables.</p>"
    } else {
        ""
    };
    if summary.holders.is_empty() {
        return format!(
            "<section><h2>Who holds what</h2><p>No Secret was written.</p>{cut}</section>"
        );
    }
    let rows: Vec<Vec<String>> = summary
        .holders
        .iter()
        .map(|((namespace, request, secret), holder)| {
            let items = holder.items.join(", ");
            let texts = [namespace, request, secret, &items, &holder.source, &holder.change];
            let mut row: Vec<String> = texts.map(|text| html(text)).to_vec();
            row.push(time(holder.last));
            row
        })
        .collect();
    let heads = [
        ("Namespace", ""),
        ("Request", ""),
        ("Secret", ""),
        ("Items", ""),
        ("Last source", ""),
        ("Last change", ""),
        ("Changed", "t"),
    ];
    format!(
        "<section><h2>Who holds what</h2><p class=\"soft\">Secrets that were written and not taken back until the end of the time, by these records. \
         What somebody deleted in Kubernetes is still here.</p>{cut}{}</section>",
        table("holders", "Secrets and the items in them", &heads, &rows)
    )
}
