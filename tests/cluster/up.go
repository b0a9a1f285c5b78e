package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"runtime"
	"slices"
	"syscall"
)

// announcement is the one line on stdout that says that the cluster is ready.
type announcement struct {
	Kubeconfig string `json:"kubeconfig"`
	Server     string `json:"server"`
	Dir        string `json:"dir"`
	Bin        string `json:"bin"` // holds kubectl
	// Containerd is the address of the node's, for `ctr`.
	Containerd string `json:"containerd,omitempty"`
}

// options are what the command line says.
type options struct {
	dir, bin string
	node     bool
	images   []string
}

// up runs a control plane, and a node if it is told to, until stdin closes or a signal comes.
func up() int {
	var o options
	flags := flag.NewFlagSet("up", flag.ExitOnError)
	flags.StringVar(&o.dir, "dir", "", "directory for data and logs, kept at the end (default: a temporary one, removed)")
	flags.StringVar(&o.bin, "bin", "", "directory of the programs (default: KUBEBUILDER_ASSETS, else this program's own)")
	flags.BoolVar(&o.node, "node", false, "run a node too, with containerd; needs root")
	flags.Func("image", "OCI archive to load into the node, more than once if need be; one is "+pauseImage, func(file string) error {
		o.images = append(o.images, file)
		return nil
	})
	_ = flags.Parse(os.Args[1:]) // exits on an error
	if flags.NArg() > 0 {
		fmt.Fprintln(os.Stderr, "up: unexpected argument", flags.Arg(0))
		return 2
	}
	if len(o.images) > 0 && !o.node {
		fmt.Fprintln(os.Stderr, "up: --image needs --node")
		return 2
	}

	// See children.start.
	runtime.LockOSThread()

	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP)
	defer stop()
	go func() {
		_, _ = io.Copy(io.Discard, os.Stdin)
		stop()
	}()
	if err := run(ctx, o); err != nil {
		fmt.Fprintln(os.Stderr, "up:", err)
		return 1
	}
	return 0
}

func run(ctx context.Context, o options) (err error) {
	programs, err := findPrograms(o.bin, o.node)
	if err != nil {
		return err
	}
	dir := o.dir
	if dir == "" {
		if dir, err = os.MkdirTemp("", "portcullis-cluster-"); err != nil {
			return err
		}
		defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	} else if dir, err = filepath.Abs(dir); err != nil {
		return err
	}
	if o.node {
		if err := checkNode(dir); err != nil {
			return err
		}
	}
	// Keys and ports are new in each run, so the data of another is of no use.
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	if err := os.Mkdir(filepath.Join(dir, "etcd"), 0o700); errors.Is(err, os.ErrExist) {
		return fmt.Errorf("%s holds an earlier run: remove it or choose another", dir)
	} else if err != nil {
		return err
	}

	children := newChildren(dir)
	defer children.kill()
	ready := announcement{
		Kubeconfig: filepath.Join(dir, "kubeconfig"),
		Dir:        dir,
		Bin:        filepath.Dir(programs["kubectl"]),
	}
	var n *node
	if o.node {
		n, err = newNode(ctx, children, dir, programs["node-init"])
		defer func() { err = errors.Join(err, n.remove()) }()
		if err != nil {
			return err
		}
		ready.Containerd = n.path("containerd.sock")
	}
	at, err := startControlPlane(ctx, children, dir, programs, n)
	if err != nil {
		return err
	}
	ready.Server = at.server
	if o.node {
		if err := startNode(ctx, n, at, programs, o.images); err != nil {
			return err
		}
	}
	if err := json.NewEncoder(os.Stdout).Encode(ready); err != nil {
		return err
	}
	select {
	case <-ctx.Done():
		return nil
	case dead := <-children.died:
		return dead.failure()
	}
}

// findPrograms returns the path of each program by name.
func findPrograms(bin string, node bool) (map[string]string, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	own, remedy := filepath.Dir(self), "run `make cluster`, which builds all that is needed"
	if bin == "" {
		if bin = os.Getenv("KUBEBUILDER_ASSETS"); bin != "" {
			remedy = "unset KUBEBUILDER_ASSETS and " + remedy
		} else {
			bin = own
		}
	}
	if bin, err = filepath.Abs(bin); err != nil {
		return nil, err
	}
	// Ready-made assets come without these.
	extra := []string{"kube-controller-manager"}
	if node {
		extra = append(extra, "kube-scheduler", "kubelet", "kube-proxy", "node-init", "node-dns")
	}
	found := map[string]string{}
	for _, name := range append([]string{"etcd", "kube-apiserver", "kubectl"}, extra...) {
		path := filepath.Join(bin, name)
		if _, err := os.Stat(path); err != nil && slices.Contains(extra, name) {
			path = filepath.Join(own, name)
		}
		if _, err := os.Stat(path); err != nil {
			return nil, fmt.Errorf("no %s in %s: %s", name, filepath.Dir(path), remedy)
		}
		found[name] = path
	}
	return found, nil
}
