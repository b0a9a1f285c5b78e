package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

const (
	nodeName = "node"
	// podRange lies in the node's namespace; no route of the machine leads there.
	podRange = "10.244.0.0/24"
	// linkFormat gives the addresses of the link between machine and node, out of
	// the range that is set aside for tests of networks. Link-local ones will not
	// do: Kubernetes takes none as an endpoint.
	linkFormat = "198.18.%d.%d"
	// linkName is that of the machine's end.
	linkName = "pcnode%d"
)

// nodeFolders are empty in the node's view, and gone with it.
var nodeFolders = []string{"/run", "/var/lib", "/var/log"}

// nodePrograms are those of the system that a node needs.
var nodePrograms = []string{
	"containerd", "containerd-shim-runc-v2", "ctr", "runc", "/usr/lib/cni/bridge", "/usr/lib/cni/host-local",
	"/usr/lib/cni/loopback", "/usr/lib/cni/portmap", "iptables", "conntrack", "ip", "nsenter",
}

// node is a place for the node's processes: namespaces of their own, a link to
// the machine, and a cgroup.
type node struct {
	children *children
	dir      string // absolute
	init     *child
	link     string
	// host and address are the ends of the link: the API server's and the node's.
	host, address net.IP
	cgroup        string
}

// checkNode says what a node lacks here.
func checkNode(dir string) error {
	if os.Geteuid() != 0 {
		return errors.New("--node needs root: it makes namespaces, mounts and a network")
	}
	for _, folder := range nodeFolders {
		if strings.HasPrefix(dir+"/", folder+"/") {
			return fmt.Errorf("--node cannot work in %s: choose a --dir outside of %s", dir, folder)
		}
	}
	var missing []string
	for _, program := range nodePrograms {
		if _, err := exec.LookPath(program); err != nil {
			missing = append(missing, program)
		}
	}
	if len(missing) > 0 {
		return fmt.Errorf("--node lacks %s: run tests/cluster/packages.sh", strings.Join(missing, ", "))
	}
	return nil
}

// newNode makes the place. What it has made so far is in the node also when it
// fails, for remove.
func newNode(ctx context.Context, children *children, dir, initProgram string) (*node, error) {
	n := &node{children: children, dir: dir}
	ready := filepath.Join(dir, "node-init.ready")
	const namespaces = unix.CLONE_NEWNS | unix.CLONE_NEWPID | unix.CLONE_NEWNET
	var err error
	if n.init, err = children.startAs("node-init", namespaces, initProgram, ready); err != nil {
		return n, fmt.Errorf("no namespaces can be made: %w", err)
	}
	if err := children.await(ctx, "node-init", func() error { _, err := os.Stat(ready); return err }); err != nil {
		return n, err
	}
	if err := n.connect(); err != nil {
		return n, err
	}
	n.cgroup = "portcullis-" + n.link
	return n, n.makeCgroups()
}

// connect makes the link. The first of the numbers that no other node has is
// ours as soon as the interface with its name is.
func (n *node) connect() error {
	var err error
	for number := range 250 {
		name := fmt.Sprintf(linkName, number)
		if _, err = execute("ip", "link", "add", name, "type", "veth", "peer", "name", "eth0", "netns", n.pid()); err != nil {
			if _, taken := os.Stat("/sys/class/net/" + name); taken == nil {
				continue
			}
			return err
		}
		n.link = name
		n.host = net.ParseIP(fmt.Sprintf(linkFormat, number, 1))
		n.address = net.ParseIP(fmt.Sprintf(linkFormat, number, 2))
		break
	}
	if n.link == "" {
		return err
	}
	for _, command := range [][]string{
		{"ip", "address", "add", n.host.String() + "/30", "dev", n.link},
		{"ip", "link", "set", n.link, "up"},
		n.inside("ip", "address", "add", n.address.String()+"/30", "dev", "eth0"),
		n.inside("ip", "link", "set", "eth0", "up"),
		n.inside("ip", "link", "set", "lo", "up"),
		// The kubelet and kube-proxy want one, though nothing is reached by it.
		n.inside("ip", "route", "add", "default", "via", n.host.String()),
	} {
		if _, err := execute(command...); err != nil {
			return err
		}
	}
	return nil
}

// path returns the place of a file of the run: programs inside begin at the root.
func (n *node) path(name string) string {
	return filepath.Join(n.dir, name)
}

func (n *node) pid() string {
	return fmt.Sprint(n.init.cmd.Process.Pid)
}

// inside returns a command that runs a program in the node's namespaces.
func (n *node) inside(program string, args ...string) []string {
	enter := []string{"nsenter", "--target=" + n.pid(), "--mount", "--net", "--pid", "--", program}
	return append(enter, args...)
}

// start starts a program in the node's namespaces, as a child of this process
// that logs as the others do.
func (n *node) start(name string, args ...string) error {
	command := n.inside(args[0], args[1:]...)
	_, err := n.children.startAs(name, 0, command[0], command[1:]...)
	return err
}

// makeCgroups makes the node's cgroup in each hierarchy: one, or with the old
// version one for each controller.
func (n *node) makeCgroups() error {
	for _, root := range cgroupRoots() {
		group := filepath.Join(root, n.cgroup)
		// A run that was killed outright leaves an empty one; its number is ours now.
		if err := removeCgroup(group); err != nil {
			return err
		}
		if err := os.Mkdir(group, 0o755); err != nil {
			return err
		}
		// A new cpuset has no cores until it is told which.
		for _, file := range []string{"cpuset.cpus", "cpuset.mems"} {
			value, err := os.ReadFile(filepath.Join(root, file))
			if err != nil || len(strings.TrimSpace(string(value))) == 0 {
				continue // of another controller
			}
			if err := os.WriteFile(filepath.Join(group, file), value, 0o644); err != nil {
				return err
			}
		}
	}
	return nil
}

// cgroupRoots returns where hierarchies with controllers are mounted.
func cgroupRoots() []string {
	const root = "/sys/fs/cgroup"
	if _, err := os.Stat(root + "/cgroup.controllers"); err == nil {
		return []string{root}
	}
	var roots []string
	entries, _ := os.ReadDir(root)
	for _, entry := range entries {
		// Some are links to where two controllers are mounted together.
		if entry.IsDir() {
			roots = append(roots, filepath.Join(root, entry.Name()))
		}
	}
	return roots
}

// remove takes the place away, and with it all that runs in it.
func (n *node) remove() error {
	var errs []error
	if n.init != nil {
		// The kernel lets it end only once all others of its namespace have.
		n.init.kill()
	}
	if n.link != "" {
		// It goes with the namespace, but some time later.
		if _, err := execute("ip", "link", "delete", n.link); err != nil {
			if _, gone := os.Stat("/sys/class/net/" + n.link); gone == nil {
				errs = append(errs, err)
			}
		}
	}
	if n.cgroup != "" {
		for _, root := range cgroupRoots() {
			errs = append(errs, removeCgroup(filepath.Join(root, n.cgroup)))
		}
	}
	return errors.Join(errs...)
}

// removeCgroup removes a cgroup and those in it.
func removeCgroup(group string) error {
	entries, err := os.ReadDir(group)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	} else if err != nil {
		return err
	}
	for _, entry := range entries {
		if entry.IsDir() {
			if err := removeCgroup(filepath.Join(group, entry.Name())); err != nil {
				return err
			}
		}
	}
	// A process counts for a moment after its end.
	for range 100 {
		if err = syscall.Rmdir(group); !errors.Is(err, syscall.EBUSY) {
			break
		}
		time.Sleep(50 * time.Millisecond)
	}
	if errors.Is(err, syscall.ENOENT) {
		return nil
	} else if err != nil {
		return fmt.Errorf("%s: %w", group, err)
	}
	return nil
}

// execute runs a command to its end and returns what it said.
func execute(command ...string) (string, error) {
	output, err := exec.Command(command[0], command[1:]...).CombinedOutput()
	said := strings.TrimSpace(string(output))
	if err != nil {
		return "", fmt.Errorf("%s: %w: %s", strings.Join(command, " "), err, said)
	}
	return said, nil
}
