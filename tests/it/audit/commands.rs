//! `portcullis audit` without a cluster.

use std::path::Path;

use portcullis::api::Outcome;
use portcullis::audit::{Entry, Kind, SecretLine, text::is_unsafe};

use super::{Folder, KEY, audit, decision, request, stream, text};

const HOSTILE: &str = "x\u{1b}]0;title\u{7}\u{202e}</script>\n2026-01-01  forged line";

async fn sample(path: &Path) {
    let audit = stream(path);
    let allowed = decision(Outcome::Allowed, 30, "production");
    let denied = decision(Outcome::Denied, 80, HOSTILE);
    for name in ["orders", "billing"] {
        let request = request("shop", name, "for a test");
        let secret = SecretLine { name, uid: None, change: "write", source: None, token: None };
        audit.record(&Entry::decision(&request, None, &allowed)).await.unwrap();
        let intent = Entry::decision(&request, None, &allowed).about(Kind::Intent, secret);
        let intent = audit.record(&intent).await.unwrap().unwrap();
        let secret = SecretLine { change: "created", source: Some("Connect"), ..secret };
        let write = Entry::decision(&request, None, &allowed)
            .about(Kind::Write, secret)
            .closing(Some(&intent));
        audit.record(&write).await.unwrap();
    }
    let request = request(HOSTILE, HOSTILE, HOSTILE);
    audit.record_denial(&Entry::decision(&request, None, &denied), "d").await.unwrap();
    audit.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn list_shows_what_the_filters_mean_and_steers_no_terminal() {
    let folder = Folder::new();
    let path = folder.file("audit.log");
    sample(&path).await;
    let file = path.to_str().unwrap();
    let list = async |args: &[&str]| {
        let output = audit(None, &[&["list", file], args].concat()).await;
        assert!(output.status.success(), "{}", text(&output.stderr));
        text(&output.stdout)
    };
    let rows = |table: &str| table.lines().count() - 1;
    let all = list(&[]).await;
    assert_eq!(rows(&all), 7, "{all}");
    assert!(!all.replace('\n', "").chars().any(is_unsafe), "{all:?}");
    assert!(all.contains("\\u{1b}]0;title") && all.contains("</script>"), "{all}");
    for (args, count) in [
        (["--namespace", "shop"], 6),
        (["--request", "orders"], 3),
        (["--outcome", "denied"], 1),
        (["--kind", "write"], 2),
        (["--since", "1h"], 7),
        (["--until", "1h"], 0),
        (["--item", "nothing"], 0),
    ] {
        assert_eq!(rows(&list(&args).await), count, "{args:?}");
    }
    let json = list(&["-o", "json", "--outcome", "Denied"]).await;
    let written = std::fs::read_to_string(&path).unwrap();
    assert_eq!(Some(json.trim_end()), written.lines().last(), "a record is listed as it stands");
}

#[tokio::test(flavor = "multi_thread")]
async fn verify_answers_by_its_exit_code_and_works_with_a_key_from_a_file() {
    let folder = Folder::new();
    let path = folder.file("audit.log");
    sample(&path).await;
    let key = folder.write("key", KEY);
    let other = folder.write("other", [8; 32]);
    let verify = async |key: &Path, file: &Path| {
        let args = ["verify", "--key-file", key.to_str().unwrap(), file.to_str().unwrap()];
        let output = audit(None, &args).await;
        (output.status.code().unwrap(), text(&output.stdout) + &text(&output.stderr))
    };
    let (code, said) = verify(&key, &path).await;
    assert_eq!(code, 0, "{said}");
    assert!(said.contains("7 records of 1 streams") && said.contains("no checkpoint"), "{said}");
    let (code, said) = verify(&other, &path).await;
    assert!(code == 2 && said.contains("unknown key:"), "{code}: {said}");
    assert_eq!(verify(&key, &folder.file("nothing")).await.0, 3);
    assert_eq!(verify(&path, &path).await.0, 3, "that is no key");
    assert_eq!(audit(None, &["verify"]).await.status.code(), Some(3), "without files");

    // By a checkpoint that somebody saved.
    let lines = std::fs::read_to_string(&path).unwrap();
    let last: serde_json::Value = serde_json::from_str(lines.lines().last().unwrap()).unwrap();
    let head = serde_json::json!({
        "stream": last["stream"], "sequence": 8, "mac": "v1.0.0", "time": last["time"], "class": "", "ended": false,
    });
    let saved = format!("apiVersion: v1\nkind: ConfigMap\ndata:\n  {}: '{head}'\n", last["stream"]);
    let saved = folder.write("checkpoint.yaml", saved);
    let args = [
        "verify",
        "--key-file",
        key.to_str().unwrap(),
        "--checkpoint-file",
        saved.to_str().unwrap(),
        path.to_str().unwrap(),
    ];
    let output = audit(None, &args).await;
    let said = text(&output.stdout);
    assert_eq!(output.status.code(), Some(2), "{said}");
    assert!(said.contains("missing tail: records 8 to 8"), "{said}");
}
