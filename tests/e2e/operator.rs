//! The operator, as Helm installs it and as the API server sees it.

use std::path::PathBuf;

use portcullis_test_support::{Cluster, wait};
use serde_json::{Value, json};

use crate::forward::Forward;
use crate::{connect, kubectl};

/// Its namespace, and the name of its release.
pub const NAMESPACE: &str = "portcullis";
/// Whom the API server sees.
const ACCOUNT: &str = "system:serviceaccount:portcullis:portcullis";
/// So that the figures say more of the operator than of the poll.
const POLL_INTERVAL: &str = "5s";

/// A Helm release whose values have a ConnectServer with its token.
pub struct Release<'c> {
    cluster: &'c Cluster,
    token: PathBuf,
    ca: String,
}

impl<'c> Release<'c> {
    /// Puts the token where the command line names it.
    pub fn new(cluster: &'c Cluster, token: &str, ca: String) -> Self {
        let file = cluster.dir().expect("it is a cluster of ours").join("connect-token");
        // As an editor leaves it.
        std::fs::write(&file, format!("{token}\n")).expect("the folder can be written in");
        Self { cluster, token: file, ca }
    }

    /// `helm install` as the README has it, with more arguments. Returns once the operator is ready.
    pub async fn install(&self, namespaces: &[&str], more: &[&str]) {
        let values = json!({"connectServer": {
            "create": true,
            "hosts": [{"url": connect::URL}],
            "ca": {"inline": self.ca},
            "access": [{
                "name": "orders", "namespaces": {"names": namespaces},
                "vaults": [{"name": "services"}], "items": ["orders-*"],
            }],
            "vaults": [{"name": "services", "environment": "production"}],
            "pollInterval": POLL_INTERVAL,
        }});
        let token = format!("connectServer.token.value={}", self.token.display());
        let args = ["install", NAMESPACE, "charts/portcullis", "--create-namespace", "--wait"];
        let args = [args.as_slice(), &["--values=-", "--set-file", &token], more].concat();
        self.helm(&args, &values.to_string()).await;
    }

    /// `helm upgrade` with other values beside those that it has.
    pub async fn upgrade(&self, set: &str) {
        let args = ["upgrade", NAMESPACE, "charts/portcullis", "--wait", "--reuse-values"];
        self.helm(&[args.as_slice(), &["--set", set]].concat(), "").await;
    }

    /// `helm uninstall`. Returns once all that it removes is gone.
    pub async fn uninstall(&self) {
        self.helm(&["uninstall", NAMESPACE, "--wait"], "").await;
        let pods = ["get", "pods", "--output=name"];
        wait::until("the operator's pod to be gone", wait::LONGEST, async || {
            let left = kubectl(self.cluster, NAMESPACE, &pods, "").await;
            if left.is_empty() { Ok(()) } else { Err(left) }
        })
        .await;
    }

    async fn helm(&self, args: &[&str], input: &str) {
        let ran = self.cluster.run_helm(NAMESPACE, args, input).await;
        if !ran.success {
            let pods = ["describe", "pods"];
            panic!("{ran:?}\n{}", kubectl(self.cluster, NAMESPACE, &pods, "").await);
        }
    }
}

/// Kills its process, which can do nothing more then, and waits until the next one in its place is ready.
pub async fn kill(cluster: &Cluster) {
    let status =
        ["get", "pods", "--output=jsonpath={.items[*].status.containerStatuses[*].restartCount}"];
    let before = kubectl(cluster, NAMESPACE, &status, "").await;
    let process = process(cluster).await.to_string();
    let killed = std::process::Command::new("kill").args(["-KILL", &process]).status();
    assert!(killed.expect("kill starts").success());
    wait::until("the operator's container to be started again", wait::LONGEST, async || {
        let now = kubectl(cluster, NAMESPACE, &status, "").await;
        if now == before { Err(now) } else { Ok(()) }
    })
    .await;
    let status = ["rollout", "status", "deployment/portcullis", "--timeout=60s"];
    let _ = kubectl(cluster, NAMESPACE, &status, "").await;
}

/// Deletes its pod, and waits until the next one is ready.
pub async fn replace(cluster: &Cluster) {
    let name = ["get", "pods", "--output=jsonpath={.items[*].metadata.name}"];
    let before = kubectl(cluster, NAMESPACE, &name, "").await;
    let delete = ["delete", "pod", &before, "--grace-period=0", "--force"];
    let _ = kubectl(cluster, NAMESPACE, &delete, "").await;
    wait::until("another pod of the operator", wait::LONGEST, async || {
        let now = kubectl(cluster, NAMESPACE, &name, "").await;
        if now.is_empty() || now.contains(&before) { Err(now) } else { Ok(()) }
    })
    .await;
    let status = ["rollout", "status", "deployment/portcullis", "--timeout=60s"];
    let _ = kubectl(cluster, NAMESPACE, &status, "").await;
}

/// Waits until the pod that runs now has looked at a request and found it in order.
pub async fn wait_taken_up(cluster: &Cluster) {
    let forward = Forward::to(cluster, NAMESPACE, "service/portcullis", 8080).await;
    let url = format!("{}/metrics", forward.url());
    wait::until("the operator to look at its requests", wait::LONGEST, async || {
        let answer = reqwest::get(&url).await.map_err(|error| error.to_string())?;
        let text = answer.text().await.map_err(|error| error.to_string())?;
        let line = "portcullis_reconciles_total{reason=\"Synced\"} ";
        match text.lines().find_map(|l| l.strip_prefix(line)) {
            Some(count) if count != "0" => Ok(()),
            _ => Err("no reconcile that ended well".to_owned()),
        }
    })
    .await;
}

/// How often it has written Secrets, whatever came of it.
pub async fn secret_writes(cluster: &Cluster) -> usize {
    let log = cluster.audit_log().expect("the cluster has an audit log");
    let text = tokio::fs::read(log).await.expect("the audit log is readable");
    let text = String::from_utf8_lossy(&text);
    // The last line may be half written.
    let calls = text.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    let writes = calls.filter(|call| {
        call["user"]["username"] == ACCOUNT
            && call["objectRef"]["resource"] == "secrets"
            && !["get", "list", "watch"].contains(&call["verb"].as_str().unwrap_or_default())
    });
    writes.count()
}

/// Its process, as the machine numbers it.
async fn process(cluster: &Cluster) -> u32 {
    let uid = ["get", "pods", "--output=jsonpath={.items[*].metadata.uid}"];
    let cgroup = format!("/pod{}/", kubectl(cluster, NAMESPACE, &uid, "").await);
    let processes = std::fs::read_dir("/proc").expect("/proc is readable").flatten();
    let ours = processes.filter_map(|process| {
        let read = |file| std::fs::read_to_string(process.path().join(file)).ok();
        let is = read("comm")?.trim() == "portcullis" && read("cgroup")?.contains(&cgroup);
        process.file_name().to_str()?.parse::<u32>().ok().filter(|_| is)
    });
    let all: Vec<_> = ours.collect();
    assert_eq!(all.len(), 1, "one process of the operator is in {cgroup}");
    all[0]
}

/// The memory of its process in bytes, the program's own pages among it: what the kubelet tells of a pod leaves those
/// out that another pod of the image has read first.
pub async fn resident(cluster: &Cluster) -> f64 {
    let file = format!("/proc/{}/status", process(cluster).await);
    let status = std::fs::read_to_string(file).expect("the process is there");
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kilobytes = line.and_then(|line| line.trim().strip_suffix(" kB")?.parse::<f64>().ok());
    kilobytes.expect("it says how much") * 1024.0
}

/// The thousandths of a core that its pod takes over the time until the kubelet has measured it again.
pub async fn idle_millicores(cluster: &Cluster) -> f64 {
    let look = async || usage(cluster).await;
    let first = wait::until("the kubelet to measure the pod", wait::LONGEST, look).await;
    wait::until("the kubelet to measure the pod again", wait::LONGEST, async || {
        let next = usage(cluster).await?;
        let seconds = (next.at_ms - first.at_ms) / 1e3;
        if seconds < 20.0 {
            return Err(format!("{seconds} s after the first time"));
        }
        Ok((next.cpu_seconds - first.cpu_seconds) * 1e3 / seconds)
    })
    .await
}

struct Usage {
    at_ms: f64,
    cpu_seconds: f64,
}

/// What the kubelet has measured last.
async fn usage(cluster: &Cluster) -> Result<Usage, String> {
    let path = ["get", "--raw=/api/v1/nodes/node/proxy/metrics/cadvisor"];
    let metrics = kubectl(cluster, NAMESPACE, &path, "").await;
    let pod = ["get", "pods", "--output=jsonpath={.items[*].metadata.name}"];
    let pod = format!("pod=\"{}\"", kubectl(cluster, NAMESPACE, &pod, "").await);
    // name{labels} value milliseconds; the whole pod is the one without a container.
    let find = |name: &str| {
        let line = metrics.lines().find(|line| {
            let ours = line.contains("container=\"\"") && line.contains(&pod);
            ours && line.strip_prefix(name).is_some_and(|rest| rest.starts_with('{'))
        });
        let mut numbers = line?.rsplit(' ').map(str::parse::<f64>);
        let (at, value) = (numbers.next()?.ok()?, numbers.next()?.ok()?);
        Some((at, value))
    };
    let measured = find("container_cpu_usage_seconds_total");
    let (at_ms, cpu_seconds) = measured.ok_or("nothing of this pod")?;
    Ok(Usage { at_ms, cpu_seconds })
}
