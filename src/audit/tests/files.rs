use std::io::Write as _;

use super::*;

#[tokio::test]
async fn the_chain_goes_on_over_rotations_and_restarts_and_old_files_go() {
    let folder = Folder::new();
    let path = folder.file("audit.log");
    let small = FileOptions { max_size: 1500, ..options(path.clone()) };
    stream(FileSink::new(small.clone()), None, 7).await;
    let first = Head {
        time: "2000-01-01T00:00:00.000Z".to_owned(),
        ..stream(FileSink::new(small.clone()), None, 2).await
    };
    // A checkpoint that is behind: what the file has counts.
    let last = stream(FileSink::new(small), Some(first), 1).await;
    let files = ["audit.log", "audit.log.1", "audit.log.2"].map(|name| folder.file(name));
    assert!(files.iter().all(|file| file.exists()) && !folder.file("audit.log.3").exists());
    let findings = checked(&files, Some(&[last]));
    assert!(findings.is_clean(), "{:?}", findings.problems);
    assert_eq!(findings.streams.len(), 3, "{findings:?}");
    let named =
        files.iter().flat_map(|file| lines(file)).filter(|l| l.contains("\"after\":")).count();
    assert!(named >= 2, "a new stream names the last head");
    assert!(!findings.notes.is_empty(), "the beginning is gone, and that is said");
    let size = |path: &PathBuf| std::fs::metadata(path).unwrap().len();
    assert!(files.iter().all(|file| size(file) <= 1500));
}

#[tokio::test]
async fn a_line_that_a_process_did_not_live_to_end_is_cut_off() {
    let folder = Folder::new();
    let path = folder.file("audit.log");
    stream(FileSink::new(options(path.clone())), None, 2).await;
    let mut file = std::fs::OpenOptions::new().append(true).open(&path).unwrap();
    file.write_all(b"{\"v\":1,\"stream\":\"torn").unwrap();
    assert!(!checked(std::slice::from_ref(&path), None).is_clean());
    stream(FileSink::new(options(path.clone())), None, 1).await;
    assert_eq!(lines(&path).len(), 3);
    let findings = checked(&[path], None);
    assert!(findings.is_clean(), "{:?}", findings.problems);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_disk_refuses_and_a_path_that_is_mended_is_taken() {
    let limits = AuditLimits { wait: Duration::from_millis(100), ..LIMITS };
    let (request, decision) = (request("r"), decision(Outcome::Allowed));
    let entry = Entry::decision(&request, None, &decision);
    let full = FileOptions { sync: false, ..options("/dev/full".into()) };
    let audit = start(FileSink::new(full), OnFailure::Block, limits);
    assert_eq!(audit.record(&entry).await, Err(AuditError::Unwritable(io::ErrorKind::StorageFull)));

    let folder = Folder::new();
    let path = folder.file("audit.log");
    std::fs::create_dir(&path).unwrap();
    let audit = start(FileSink::new(options(path.clone())), OnFailure::Block, limits);
    assert!(matches!(audit.record(&entry).await, Err(AuditError::Unwritable(_))));
    std::fs::remove_dir(&path).unwrap();
    while audit.record(&entry).await.is_err() {}
    assert!(checked(&[path], None).is_clean());
}
