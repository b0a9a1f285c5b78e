//! What a platform engineer does, on a real node: Helm installs the operator from its image, an application's pod
//! mounts the Secret, and things go wrong. `make e2e` runs it; it needs root.

mod connect;
mod figures;
mod forward;
mod image;
mod operator;
mod orders;
mod page;
mod story;
mod traces;

use std::process::{Command, Stdio};

use portcullis_test_support::{Cluster, up_program};

use crate::traces::{Run, Traces};

/// Runs kubectl in a namespace; its output.
async fn kubectl(cluster: &Cluster, namespace: &str, args: &[&str], input: &str) -> String {
    cluster.run_kubectl(namespace, args, input).await.ok()
}

#[test]
fn a_node_without_root_says_so_in_one_line() {
    // A user namespace in which nobody is root.
    let up = up_program().unwrap();
    let ran =
        Command::new("unshare").arg("--user").arg(up).arg("--node").stdin(Stdio::null()).output();
    let ran = ran.unwrap();
    assert!(!ran.status.success());
    let said = String::from_utf8(ran.stderr).unwrap();
    assert_eq!(said, "up: --node needs root: it makes namespaces, mounts and a network\n");
    assert!(ran.stdout.is_empty());
}

#[test]
fn an_image_without_a_node_to_load_it_into_is_a_mistake() {
    let ran = Command::new(up_program().unwrap()).args(["--image", "x.tar"]).output().unwrap();
    assert_eq!(ran.status.code(), Some(2));
    assert_eq!(String::from_utf8(ran.stderr).unwrap(), "up: --image needs --node\n");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_without_the_image_that_holds_pods_open_does_not_start() {
    let traces = Traces::before();
    let mut up = Command::new(up_program().unwrap());
    up.arg("--node").stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::piped());
    let mut up = up.spawn().unwrap();
    // It would end for another reason if this was closed.
    let stdin = up.stdin.take();
    let said = String::from_utf8(up.wait_with_output().unwrap().stderr).unwrap();
    drop(stdin);
    assert!(said.contains("tests/images/build.sh busybox packs it"), "{said}");
    traces.wait_as_before().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_is_killed_leaves_nothing_running_and_the_next_one_clears_up_the_rest() {
    let traces = Traces::before();
    let killed = Cluster::with_node(&[image::archive("busybox")]).await.unwrap();
    let run = Run::of(&killed);
    let process = killed.process().unwrap().to_string();
    assert!(Command::new("kill").args(["-KILL", &process]).status().unwrap().success());
    traces.wait_ended(&run).await;
    std::fs::remove_dir_all(&run.dir).unwrap();

    let next = Cluster::with_node(&[image::archive("busybox")]).await.unwrap();
    let run = Run::of(&next);
    drop(next);
    traces.wait_gone(&run).await;
}
