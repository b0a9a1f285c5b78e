package main

import (
	"errors"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// nodeInit is the first process of the node's namespaces. With its end the
// kernel ends all others in there, and takes away their mounts and interfaces:
// nothing has to be known of what the kubelet and containerd have made.
func nodeInit() int {
	if os.Getpid() != 1 || len(os.Args) != 2 {
		fmt.Fprintln(os.Stderr, "node-init: up --node starts it")
		return 2
	}
	if err := prepareMounts(os.Args[1]); err != nil {
		fmt.Fprintln(os.Stderr, "node-init:", err)
		return 1
	}
	ended := make(chan os.Signal, 1)
	signal.Notify(ended, unix.SIGCHLD)
	// Says that it is ready, by a file that up looks for.
	if err := os.WriteFile(os.Args[1], nil, 0o600); err != nil {
		fmt.Fprintln(os.Stderr, "node-init:", err)
		return 1
	}
	// Containers' shims are orphans by design: somebody has to see their end.
	for range ended {
		for {
			if pid, err := unix.Wait4(-1, nil, unix.WNOHANG, nil); pid <= 0 || err != nil {
				break // none that has ended, or none at all
			}
		}
	}
	return 0
}

// kubeletTunables are settings of the whole machine that the kubelet changes.
var kubeletTunables = []string{
	"vm/overcommit_memory", "vm/panic_on_oom", "kernel/panic", "kernel/panic_on_oops",
	"kernel/keys/root_maxkeys", "kernel/keys/root_maxbytes",
}

// prepareMounts makes a view of the files in which the node can write where it
// always does, without a trace on the machine.
func prepareMounts(ready string) error {
	// Ours alone from now on, and shared with what the node starts.
	for _, flags := range []uintptr{unix.MS_REC | unix.MS_PRIVATE, unix.MS_REC | unix.MS_SHARED} {
		if err := unix.Mount("", "/", "", flags, ""); err != nil {
			return fmt.Errorf("/ cannot be detached from the machine's mounts: %w", err)
		}
	}
	if err := unix.Mount("proc", "/proc", "proc", unix.MS_NOSUID|unix.MS_NODEV|unix.MS_NOEXEC, ""); err != nil {
		return fmt.Errorf("/proc: %w", err)
	}
	for _, path := range nodeFolders {
		if err := unix.Mount("tmpfs", path, "tmpfs", unix.MS_NOSUID|unix.MS_NODEV, "mode=755"); err != nil {
			return fmt.Errorf("%s: %w", path, err)
		}
	}
	for _, tunable := range kubeletTunables {
		path := filepath.Join("/proc/sys", tunable)
		value, err := os.ReadFile(path)
		if errors.Is(err, os.ErrNotExist) {
			continue // not in every kernel
		} else if err != nil {
			return err
		}
		stand := filepath.Join(filepath.Dir(ready), "sys", tunable)
		if err := os.MkdirAll(filepath.Dir(stand), 0o700); err != nil {
			return err
		}
		if err := os.WriteFile(stand, value, 0o600); err != nil {
			return err
		}
		if err := unix.Mount(stand, path, "", unix.MS_BIND, ""); err != nil {
			return fmt.Errorf("%s: %w", path, err)
		}
	}
	return nil
}
