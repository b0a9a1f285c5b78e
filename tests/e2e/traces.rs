//! What a machine has of a run: nothing, once it has ended.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use portcullis_test_support::{Cluster, wait};

/// What there is on the machine that a node could leave there.
struct Machine {
    mounts: BTreeSet<String>,
    interfaces: BTreeSet<String>,
    cgroups: BTreeSet<String>,
}

impl Machine {
    fn now() -> Self {
        let mounts = fs::read_to_string("/proc/self/mountinfo").expect("mounts are readable");
        let mut cgroups = BTreeSet::new();
        for root in
            [Path::new("/sys/fs/cgroup").to_owned()].into_iter().chain(entries("/sys/fs/cgroup"))
        {
            cgroups.extend(entries(root).map(|group| group.display().to_string()));
        }
        Self {
            mounts: mounts.lines().filter_map(|l| l.split(' ').nth(4)).map(str::to_owned).collect(),
            interfaces: entries("/sys/class/net").map(|i| i.display().to_string()).collect(),
            cgroups,
        }
    }

    /// What is here and was not there, the paths of mounts, interfaces and cgroups.
    fn beside(&self, before: &Self) -> Vec<String> {
        let mounts = self.mounts.difference(&before.mounts);
        let interfaces = self.interfaces.difference(&before.interfaces);
        let cgroups = self.cgroups.difference(&before.cgroups);
        mounts.chain(interfaces).chain(cgroups).cloned().collect()
    }
}

/// The machine as it was, to be compared with.
pub struct Traces(Machine);

/// Where a run's processes are, by which they can be told from all others.
pub struct Run {
    /// Its folder.
    pub dir: String,
    namespaces: BTreeSet<String>,
}

impl Traces {
    /// Looks at the machine before a run.
    pub fn before() -> Self {
        Self(Machine::now())
    }

    /// Waits until the machine has nothing that it had not before.
    pub async fn wait_as_before(&self) {
        self.wait("the machine to be as before", |_| {}).await;
    }

    /// The same, and until no process or file of the run is left.
    pub async fn wait_gone(&self, run: &Run) {
        let and_the_runs = |left: &mut Vec<String>| {
            left.extend(run.processes());
            left.extend(Some(run.dir.clone()).filter(|dir| Path::new(dir).exists()));
        };
        self.wait("all traces of the run to be gone", and_the_runs).await;
    }

    /// Waits until nothing of the run is left but files and empty cgroups.
    pub async fn wait_ended(&self, run: &Run) {
        let but_cgroups = |left: &mut Vec<String>| {
            left.retain(|path| !path.starts_with("/sys/fs/cgroup/"));
            left.extend(run.processes());
        };
        self.wait("the run to end", but_cgroups).await;
    }

    async fn wait(&self, what: &str, amend: impl Fn(&mut Vec<String>)) {
        wait::until(what, wait::WAIT, async || {
            let mut left = Machine::now().beside(&self.0);
            amend(&mut left);
            if left.is_empty() { Ok(()) } else { Err(left.join(", ")) }
        })
        .await;
    }
}

impl Run {
    /// Looks at a run while pods are up.
    pub fn of(cluster: &Cluster) -> Self {
        let dir = cluster.dir().expect("it is a cluster of ours").display().to_string();
        let mut run = Self { dir, namespaces: BTreeSet::new() };
        // The kubelet has the folder in its arguments; with it are all who share a namespace with it. Containers have
        // namespaces of their own, and a cgroup that could not be removed while they run.
        let own = namespaces(Path::new("/proc/self"));
        for process in run.processes() {
            run.namespaces.extend(namespaces(Path::new(&process)).difference(&own).cloned());
        }
        assert!(!run.namespaces.is_empty(), "the node has no namespaces of its own");
        run
    }

    fn processes(&self) -> Vec<String> {
        let processes = entries("/proc").filter(|p| p.join("cmdline").exists());
        let ours = processes.filter(|process| {
            let arguments = fs::read(process.join("cmdline")).unwrap_or_default();
            let named = String::from_utf8_lossy(&arguments).contains(&self.dir);
            let working =
                fs::read_link(process.join("cwd")).is_ok_and(|at| at.starts_with(&self.dir));
            named || working || !namespaces(process).is_disjoint(&self.namespaces)
        });
        ours.map(|process| process.display().to_string()).collect()
    }
}

/// The namespaces of a process of those kinds that a node has of its own.
fn namespaces(process: &Path) -> BTreeSet<String> {
    let of = |kind| {
        let inode = fs::metadata(process.join("ns").join(kind)).ok()?.ino();
        Some(format!("{kind}:{inode}"))
    };
    ["mnt", "net", "pid"].into_iter().filter_map(of).collect()
}

fn entries(folder: impl AsRef<Path>) -> impl Iterator<Item = std::path::PathBuf> {
    fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path())
}
