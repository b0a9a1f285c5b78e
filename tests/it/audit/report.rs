//! The page for an auditor, in a real browser.

use std::path::Path;
use std::process::Output;
use std::sync::{Arc, Mutex};

use portcullis::api::Outcome;
use portcullis::audit::{Entry, Kind, SecretLine};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio::process::Command;

use super::{Folder, KEY, audit, decision, request, stream, text};

/// Serves one page to whoever asks for anything, and keeps what was asked for.
async fn serve(page: String) -> (u16, Arc<Mutex<Vec<String>>>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let asked = Arc::new(Mutex::new(Vec::new()));
    let kept = asked.clone();
    tokio::spawn(async move {
        while let Ok((mut client, _)) = listener.accept().await {
            let mut bytes = vec![0; 8192];
            let read = client.read(&mut bytes).await.unwrap_or(0);
            let line = String::from_utf8_lossy(&bytes[..read])
                .lines()
                .next()
                .unwrap_or_default()
                .to_owned();
            if !line.is_empty() {
                kept.lock().unwrap().push(line);
            }
            let answer = format!(
                "HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{page}",
                page.len()
            );
            let _ = client.write_all(answer.as_bytes()).await;
        }
    });
    (port, asked)
}

async fn browse(folder: &Folder, url: &str, flags: &[&str]) -> Output {
    let profile = folder.file("profile");
    let output = Command::new("chromium")
        .args(["--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"])
        .args(["--disable-background-networking", "--disable-component-update", "--disable-sync"])
        .args(["--disable-dev-shm-usage", "--enable-logging=stderr", "--log-level=0"])
        .arg(format!("--user-data-dir={}", profile.display()))
        .args(flags)
        .arg(url)
        .kill_on_drop(true)
        .output()
        .await
        .expect("chromium is missing: apt-get install chromium");
    assert!(output.status.success(), "{}", text(&output.stderr));
    output
}

/// Seven decisions with what a page must not run.
async fn sample(path: &Path, hostile: &str) {
    let audit = stream(path);
    for (name, outcome, risk, rule) in [
        ("orders", Outcome::Allowed, 30, "production"),
        ("billing", Outcome::Alerted, 60, "production"),
        ("root", Outcome::Denied, 90, "no-root"),
        ("root", Outcome::Denied, 90, "no-root"),
        (hostile, Outcome::Denied, 70, hostile),
    ] {
        let (request, decision) = (request("shop", name, hostile), decision(outcome, risk, rule));
        let entry = || Entry::decision(&request, None, &decision);
        if outcome == Outcome::Denied {
            audit.record_denial(&entry(), "d").await.unwrap();
            continue;
        }
        audit.record(&entry()).await.unwrap();
        let secret = SecretLine { name, uid: None, change: "write", source: None, token: None };
        let intent = audit.record(&entry().about(Kind::Intent, secret)).await.unwrap().unwrap();
        let source = if name == "orders" { "Connect" } else { "Cache" };
        let secret = SecretLine { change: "created", source: Some(source), ..secret };
        audit.record(&entry().about(Kind::Write, secret).closing(Some(&intent))).await.unwrap();
        // The same once more, as a start finds it: it is one change.
        let found = Entry::found(&request, "uid", "vault/item@3", &intent);
        audit.record(&found).await.unwrap();
    }
    audit.close().await;
}

async fn report(folder: &Folder, flags: &[&str]) -> String {
    let (path, page) = (folder.file("audit.log"), folder.file("report.html"));
    let key = folder.write("key", KEY);
    let args = [
        &["report", "--key-file", key.to_str().unwrap(), "-o", page.to_str().unwrap()],
        flags,
        &[path.to_str().unwrap()],
    ]
    .concat();
    let output = audit(None, &args).await;
    assert!(output.status.success(), "{}", text(&output.stderr));
    std::fs::read_to_string(page).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_page_loads_and_runs_nothing_shows_what_others_typed_as_text_and_agrees_with_the_records()
 {
    let folder = Folder::new();
    let (port, asked) = serve(String::new()).await;
    let hostile = format!(
        "</script><script>fetch('http://127.0.0.1:{port}/ran')</script><img src=\"http://127.0.0.1:{port}/img\" onerror=\"alert(1)\">\u{202e}\u{1b}[2J'\" x=\"</style></title>"
    );
    sample(&folder.file("audit.log"), &hostile).await;
    let page = report(&folder, &[]).await;
    let (page_port, page_asked) = serve(page.clone()).await;
    let url = format!("http://127.0.0.1:{page_port}/");
    let output = browse(&folder, &url, &["--virtual-time-budget=3000", "--dump-dom"]).await;
    let (dom, log) = (text(&output.stdout), text(&output.stderr));

    assert!(!log.contains("CONSOLE"), "{log}");
    assert!(asked.lock().unwrap().is_empty(), "{asked:?}");
    let page_asked = page_asked.lock().unwrap().clone();
    assert!(
        page_asked
            .iter()
            .all(|line| ["GET / HTTP/1.1", "GET /favicon.ico HTTP/1.1"].contains(&line.as_str())),
        "{page_asked:?}"
    );
    let (open, close) = ("<script", "<img");
    assert!(!dom.contains(open) && !dom.contains(close), "others' markup is markup: {dom}");
    assert!(dom.contains("&lt;/script&gt;&lt;script&gt;fetch("), "it is shown as text");
    assert!(dom.contains("\\u{202e}\\u{1b}[2J"), "what could reorder text is spelled out");
    assert!(dom.contains("default-src 'none'"), "the policy is there");

    let figures = dom.split("id=\"figures\"").nth(1).unwrap().split("</dl>").next().unwrap();
    for (name, figure) in [
        ("Records", 11),
        ("Decisions", 5),
        ("Allowed", 1),
        ("Alerted", 1),
        ("Denied", 3),
        ("Changes of Secrets", 2),
        ("Served without Connect", 1),
        ("Secrets held", 2),
        ("Intents without an end", 0),
    ] {
        let cell = format!("<dt>{name}</dt><dd>{figure}</dd>");
        assert!(figures.contains(&cell), "{cell} is not in {figures}");
    }
    let rows = |id: &str| {
        let table = dom.split(&format!("<table id=\"{id}\">")).nth(1).unwrap();
        table.split("</table>").next().unwrap().matches("<tr>").count() - 1
    };
    assert_eq!((rows("denied"), rows("served"), rows("holders"), rows("factors")), (2, 1, 2, 3));
    assert!(dom.contains("<strong>Verified</strong>"), "{dom}");
    for chart in ["chart-outcomes", "chart-risk", "chart-factors"] {
        assert!(dom.contains(&format!("aria-labelledby=\"{chart}\"")), "{chart}");
    }
    assert!(
        dom.matches("<rect class=\"o-").count() >= 3 + 3,
        "a part of a column for each outcome"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn the_style_is_applied_under_the_pages_own_policy_and_prints() {
    let folder = Folder::new();
    sample(&folder.file("audit.log"), "plain").await;
    report(&folder, &[]).await;
    let url = format!("file://{}", folder.file("report.html").display());
    let pdf = folder.file("report.pdf");
    let flag = format!("--print-to-pdf={}", pdf.display());
    let output = browse(&folder, &url, &[&flag]).await;
    assert!(!text(&output.stderr).contains("CONSOLE"), "{}", text(&output.stderr));
    let pdf = std::fs::read(pdf).unwrap();
    assert!(pdf.starts_with(b"%PDF") && pdf.len() > 10_000, "{} bytes", pdf.len());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_page_over_broken_or_unverified_records_says_so_and_times_cut_what_is_counted() {
    let folder = Folder::new();
    let path = folder.file("audit.log");
    sample(&path, "plain").await;
    let page = report(&folder, &["--no-verify"]).await;
    assert!(page.contains("<strong>Not verified</strong>"));
    let page = report(&folder, &["--to", "1h"]).await;
    assert!(page.contains("<dt>Records</dt><dd>0</dd>") && page.contains("No Secret was written"));
    let from = (chrono::Utc::now() + chrono::TimeDelta::hours(1)).to_rfc3339();
    let page = report(&folder, &["--from", &from]).await;
    assert!(page.contains("<dt>Records</dt><dd>0</dd>"));
    assert!(
        page.contains("<dt>Secrets held</dt><dd>2</dd>"),
        "what was held when it began is held"
    );

    let all = std::fs::read_to_string(&path).unwrap();
    std::fs::write(&path, all.replacen("\"riskScore\":30", "\"riskScore\":10", 1)).unwrap();
    let page = report(&folder, &[]).await;
    assert!(page.contains("<strong>Broken</strong>") && page.contains("<li>edited: "), "{page}");
}
