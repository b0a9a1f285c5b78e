//! `docs/try.md`, word for word: what somebody gets who pastes its commands.

use std::fmt::Write as _;
use std::process::Stdio;

use portcullis_test_support::{Cluster, helm_program, manifests};
use tokio::process::Command;

use crate::image;
use crate::traces::{Run, Traces};

/// The commands of a page from a heading on.
fn commands(page: &str, from: &str) -> String {
    let (_, rest) = page.split_once(from).expect("the page has the heading");
    let mut script = String::new();
    for line in rest.lines() {
        if let Some(command) = line.strip_prefix("    ") {
            // Writing to a String does not fail.
            let _ = writeln!(script, "{command}");
        }
    }
    script
}

#[tokio::test(flavor = "multi_thread")]
async fn who_follows_the_page_on_trying_it_gets_a_mounted_secret() {
    let traces = Traces::before();
    let images = ["busybox", "connect-dev", "portcullis"].map(image::archive);
    let cluster = Cluster::with_node(&images).await.unwrap();
    let run = Run::of(&cluster);
    let repository = manifests::repository();
    let page = std::fs::read_to_string(repository.join("docs/try.md")).unwrap();
    let script = commands(&page, "## From nothing to a mounted Secret");
    let dirs = [cluster.kubectl(), helm_program()].map(|p| p.parent().unwrap().to_owned());
    let path = std::env::var_os("PATH").unwrap_or_default();
    let path = std::env::join_paths(dirs.into_iter().chain(std::env::split_paths(&path))).unwrap();
    let ran = Command::new("bash")
        .args(["-euxo", "pipefail", "-c", &script])
        .current_dir(repository)
        .env("PATH", path)
        .env("KUBECONFIG", cluster.kubeconfig_path())
        .env("KUBECACHEDIR", cluster.dir().unwrap().join("kubectl-cache"))
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .output()
        .await
        .unwrap();
    let (said, errors) =
        (String::from_utf8_lossy(&ran.stdout), String::from_utf8_lossy(&ran.stderr));
    assert!(ran.status.success(), "{said}\n{errors}");
    assert!(said.contains("\nusername: orders\n"), "{said}");
    let says = |name: &str, words: &[&str]| {
        let mut rows = said.lines().filter(|line| line.starts_with(name));
        rows.any(|row| words.iter().all(|word| row.contains(word)))
    };
    assert!(says("orders-db", &["True", "Synced", "Alerted"]), "{said}");
    assert!(says("orders-root", &["False", "Denied"]), "{said}");
    assert!(said.contains("\"change\":\"repaired\""), "{said}");
    drop(cluster);
    traces.wait_gone(&run).await;
}
