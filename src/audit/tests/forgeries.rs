//! Each thing that somebody could do to the files, and what it is called.

use super::verify::Problem;
use super::*;

struct Log {
    folder: Folder,
    lines: Vec<String>,
    heads: Vec<Head>,
}

/// Two streams of five records in one file.
async fn log() -> Log {
    let folder = Folder::new();
    let path = folder.file("audit.log");
    let first = stream(FileSink::new(options(path.clone())), None, 5).await;
    let second = stream(FileSink::new(options(path.clone())), None, 5).await;
    Log { lines: lines(&path), folder, heads: vec![first, second] }
}

impl Log {
    fn write(&self, name: &str, lines: &[String]) -> PathBuf {
        let path = self.folder.file(name);
        std::fs::write(&path, lines.join("\n") + "\n").unwrap();
        path
    }

    /// What is found in these lines, with the checkpoint.
    fn found(&self, lines: &[String]) -> Vec<String> {
        let findings = checked(&[self.write("forged", lines)], Some(&self.heads));
        findings.problems.iter().map(ToString::to_string).collect()
    }
}

#[tokio::test]
async fn what_was_not_touched_is_clean_in_whatever_order_of_files() {
    let log = log().await;
    let parts: Vec<PathBuf> =
        log.lines.chunks(3).enumerate().map(|(n, part)| log.write(&n.to_string(), part)).collect();
    for order in [[0, 1, 2, 3], [3, 1, 2, 0], [2, 3, 0, 1]] {
        let files = order.map(|n| parts[n].clone());
        let findings = checked(&files, Some(&log.heads));
        assert!(findings.is_clean(), "{:?}", findings.problems);
        assert_eq!((findings.records, findings.notes.len()), (10, 0), "{:?}", findings.notes);
    }
    // The same file twice is no fork.
    let twice = [parts.clone(), parts].concat();
    assert!(checked(&twice, Some(&log.heads)).is_clean());
}

#[tokio::test]
async fn an_edit_is_named_with_its_place() {
    let log = log().await;
    let mut lines = log.lines.clone();
    lines[2] = lines[2].replace("Allowed", "Denied");
    let found = log.found(&lines);
    assert_eq!(found.len(), 1, "{found:?}");
    assert!(found[0].starts_with("edited:") && found[0].contains("forged:3:"), "{found:?}");
}

#[tokio::test]
async fn an_edit_that_is_sealed_anew_with_another_key_is_named() {
    let log = log().await;
    let mut lines = log.lines.clone();
    let (body, _) = lines[2].rsplit_once(",\"mac\"").unwrap();
    let body = body.replace("Allowed", "Denied");
    let mac = signer(9).sign_parts(&[b"audit", body.as_bytes()]);
    lines[2] = format!("{body},\"mac\":\"{mac}\"}}");
    let found = log.found(&lines);
    assert!(found[0].starts_with("unknown key:") && found[0].contains("forged:3:"), "{found:?}");
    assert_eq!(found.len(), 1, "{found:?}");
}

#[tokio::test]
async fn a_record_that_was_taken_out_is_a_gap() {
    let log = log().await;
    let mut lines = log.lines.clone();
    lines.drain(1..3);
    let found = log.found(&lines);
    assert_eq!(found.len(), 1, "{found:?}");
    assert!(found[0].starts_with("gap: records 2 to 3"), "{found:?}");
}

#[tokio::test]
async fn a_tail_that_was_cut_off_is_missed_by_the_next_stream_and_by_the_checkpoint() {
    let log = log().await;
    let mut lines = log.lines.clone();
    lines.drain(3..5);
    lines.pop();
    let found = log.found(&lines);
    assert_eq!(found.len(), 3, "{found:?}");
    assert!(found.iter().all(|f| f.starts_with("missing tail: records ")), "{found:?}");
    assert!(
        found[0].contains("4 to 5") && found[0].contains("the first record of stream"),
        "{found:?}"
    );
    assert!(found[2].contains("5 to 5") && found[2].contains("the checkpoint"), "{found:?}");
}

#[tokio::test]
async fn a_stream_that_was_taken_out_is_missed() {
    let log = log().await;
    let found = log.found(&log.lines[..5]);
    assert_eq!(found.len(), 1, "{found:?}");
    assert!(found[0].starts_with("missing stream: the checkpoint has record 5"), "{found:?}");
    // All of it.
    let found = log.found(&[]);
    assert_eq!(found.len(), 2, "{found:?}");
}

#[tokio::test]
async fn two_records_of_one_number_are_a_fork_in_one_file_or_two() {
    let log = log().await;
    // Whoever has the key goes on from the second record in another way.
    let parted: Vec<serde_json::Value> =
        log.lines.iter().map(|l| serde_json::from_str(l).unwrap()).collect();
    let mut previous = parted[1]["mac"].as_str().unwrap().to_owned();
    let mut other = Vec::new();
    for line in &log.lines[2..5] {
        let (body, _) = line.rsplit_once(",\"mac\"").unwrap();
        let link: Link = serde_json::from_str(line).unwrap();
        let body = body.replace(&link.previous.unwrap(), &previous).replace("a test", "another");
        previous = signer(1).sign_parts(&[b"audit", body.as_bytes()]);
        other.push(format!("{body},\"mac\":\"{previous}\"}}"));
    }
    let files = [log.write("one", &log.lines), log.write("two", &other)];
    let problems = checked(&files, Some(&log.heads)).problems;
    assert!(matches!(problems[0], Problem::Fork { from: 3, to: 5, .. }), "{problems:?}");
    let mut replaced = log.lines.clone();
    replaced.splice(2..5, other.clone());
    let found = log.found(&replaced);
    assert!(found.iter().all(|f| f.starts_with("replaced: record 5")), "{found:?}");
    assert_eq!(found.len(), 2, "the next stream and the checkpoint both know better: {found:?}");
    // And one that is put in between.
    let mut mixed = log.lines.clone();
    mixed[3].clone_from(&other[1]);
    assert!(log.found(&mixed)[0].starts_with("fork:"), "{:?}", log.found(&mixed));
}

#[tokio::test]
async fn a_beginning_that_is_not_there_is_told_and_wrong_where_all_was_promised() {
    let log = log().await;
    let path = log.write("late", &log.lines[6..]);
    let signer = signer(1);
    let mut against = verify::Against { signer: &signer, heads: Some(&log.heads), complete: false };
    let findings = verify::verify(std::slice::from_ref(&path), &against).unwrap();
    assert!(findings.is_clean(), "{:?}", findings.problems);
    assert_eq!(findings.notes.len(), 2, "{:?}", findings.notes);
    against.complete = true;
    let problems = verify::verify(&[path], &against).unwrap().problems;
    assert!(matches!(problems[0], Problem::MissingStart { first: 2, .. }), "{problems:?}");
    assert!(matches!(problems[1], Problem::MissingStream { .. }), "{problems:?}");
}

#[tokio::test]
async fn a_beginning_that_was_cut_out_between_two_runs_is_wrong_in_any_case() {
    let log = log().await;
    let cut = [&log.lines[..5], &log.lines[6..]].concat();
    let path = log.write("cut", &cut);
    let signer = signer(1);
    for heads in [None, Some(log.heads.as_slice())] {
        let against = verify::Against { signer: &signer, heads, complete: false };
        let problems = verify::verify(std::slice::from_ref(&path), &against).unwrap().problems;
        assert!(matches!(problems[0], Problem::MissingStart { first: 2, .. }), "{problems:?}");
    }
}

#[tokio::test]
async fn a_key_that_was_rotated_still_proves_and_one_that_is_gone_does_not() {
    let log = log().await;
    let path = log.write("all", &log.lines);
    let old = Zeroizing::new(vec![1; 32]);
    let rotated = MasterKeys::new(Zeroizing::new(vec![2; 32]), vec![old]).audit_signer();
    for (signer, clean) in [(rotated, true), (signer(2), false)] {
        let against = verify::Against { signer: &signer, heads: None, complete: false };
        let findings = verify::verify(std::slice::from_ref(&path), &against).unwrap();
        assert_eq!(findings.is_clean(), clean);
        let all_unknown = findings.problems.iter().all(|p| matches!(p, Problem::UnknownKey { .. }));
        assert!(all_unknown, "{:?}", findings.problems);
    }
}
