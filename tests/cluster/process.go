package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// errStopped is the end of a wait because the run was asked to end.
var errStopped = errors.New("stopped before the control plane was ready")

// children are the processes of one run. They work in dir and log there.
type children struct {
	dir  string
	all  []*child
	died chan *child
}

type child struct {
	name  string
	cmd   *exec.Cmd
	log   string
	ended chan struct{}
}

func newChildren(dir string) *children {
	// Room for every child, so that none waits to report its end.
	return &children{dir: dir, died: make(chan *child, 16)}
}

// start runs the program at path with its output in dir/NAME.log. The calling
// goroutine must be locked to its thread: the kernel kills the child when the
// thread that started it ends, which makes children die with a killed parent.
func (c *children) start(path string, args ...string) error {
	_, err := c.startAs(filepath.Base(path), 0, path, args...)
	return err
}

// startAs is start under another name, and in new namespaces if flags say so.
func (c *children) startAs(name string, namespaces uintptr, path string, args ...string) (*child, error) {
	log, err := os.Create(filepath.Join(c.dir, name+".log"))
	if err != nil {
		return nil, err
	}
	defer log.Close()
	cmd := exec.Command(path, args...)
	cmd.Dir = c.dir
	// Nothing else of the caller's environment: etcd, for one, refuses to start when
	// a variable contradicts a flag.
	cmd.Env = []string{"HOME=" + c.dir, "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"}
	cmd.Stdout, cmd.Stderr = log, log
	// A group of its own, so that Ctrl-C in a terminal reaches only the parent.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL, Cloneflags: namespaces}
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	started := &child{name: name, cmd: cmd, log: log.Name(), ended: make(chan struct{})}
	c.all = append(c.all, started)
	go func() {
		_ = cmd.Wait() // the status is in cmd.ProcessState
		close(started.ended)
		c.died <- started
	}()
	return started, nil
}

// await polls ready until it returns nil, a child ends or ctx does.
func (c *children) await(ctx context.Context, what string, ready func() error) error {
	deadline := time.After(2 * time.Minute) // seconds when the machine is idle
	for {
		err := ready()
		if err == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			return errStopped
		case dead := <-c.died:
			return dead.failure()
		case <-deadline:
			last := c.all[len(c.all)-1]
			return fmt.Errorf("%s is not ready: %w\n%s", what, err, last.tail())
		case <-time.After(50 * time.Millisecond):
		}
	}
}

// kill ends all children, the last started first, and returns when they are gone.
// There is no gentle end: the data is thrown away, or was not synced anyway.
func (c *children) kill() {
	for _, child := range slices.Backward(c.all) {
		child.kill()
	}
}

func (c *child) kill() {
	select {
	case <-c.ended: // its id may be another's by now
	default:
		_ = syscall.Kill(-c.cmd.Process.Pid, syscall.SIGKILL)
		<-c.ended
	}
}

func (c *child) failure() error {
	return fmt.Errorf("%s ended early: %s\n%s", c.name, c.cmd.ProcessState, c.tail())
}

// tail returns the last lines of the child's log under a heading.
func (c *child) tail() string {
	text, err := os.ReadFile(c.log)
	if err != nil {
		return err.Error()
	}
	lines := strings.Split(strings.TrimRight(string(text), "\n"), "\n")
	lines = lines[max(0, len(lines)-20):]
	return "end of " + c.log + ":\n  " + strings.Join(lines, "\n  ")
}

// reservePort returns a free port of an IPv4 address which nothing else gets while
// this process lives: the socket stays bound, without listening, and a server
// that permits port sharing may bind beside it.
func reservePort(address net.IP) (int, error) {
	socket, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return 0, err
	}
	if err := unix.SetsockoptInt(socket, unix.SOL_SOCKET, unix.SO_REUSEPORT, 1); err != nil {
		return 0, err
	}
	if err := unix.Bind(socket, &unix.SockaddrInet4{Addr: [4]byte(address.To4())}); err != nil {
		return 0, err
	}
	bound, err := unix.Getsockname(socket)
	if err != nil {
		return 0, err
	}
	return bound.(*unix.SockaddrInet4).Port, nil
}
