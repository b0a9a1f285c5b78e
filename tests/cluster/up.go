package main

import (
	"context"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/signal"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"time"
)

const (
	serviceRange = "10.96.0.0/16"
	serviceIP    = "10.96.0.1" // the first of the range is the API server's
	etcdURL      = "unix://etcd.sock"
)

// auditPolicy records who did what to which object, once a request and without bodies.
const auditPolicy = `apiVersion: audit.k8s.io/v1
kind: Policy
omitStages: [RequestReceived]
rules: [{level: Metadata}]
`

// controllersInUse are those that work without nodes and that tests can notice:
// clean-up, ServiceAccounts and their tokens, aggregated roles, and rollouts.
var controllersInUse = []string{
	"garbage-collector-controller",
	"namespace-controller",
	"serviceaccount-controller",
	"serviceaccount-token-controller",
	"root-ca-certificate-publisher-controller",
	"clusterrole-aggregation-controller",
	"validatingadmissionpolicy-status-controller",
	"deployment-controller",
	"replicaset-controller",
	"statefulset-controller",
	"daemonset-controller",
}

// announcement is the one line on stdout that says that the cluster is ready.
type announcement struct {
	Kubeconfig string `json:"kubeconfig"`
	Server     string `json:"server"`
	Dir        string `json:"dir"`
	Bin        string `json:"bin"` // holds kubectl
}

// up runs a control plane until stdin closes or a signal comes.
func up() int {
	flags := flag.NewFlagSet("up", flag.ExitOnError)
	dir := flags.String("dir", "", "directory for data and logs, kept at the end (default: a temporary one, removed)")
	bin := flags.String("bin", "", "directory of the programs (default: KUBEBUILDER_ASSETS, else this program's own)")
	_ = flags.Parse(os.Args[1:]) // exits on an error
	if flags.NArg() > 0 {
		fmt.Fprintln(os.Stderr, "up: unexpected argument", flags.Arg(0))
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
	if err := run(ctx, *dir, *bin); err != nil {
		fmt.Fprintln(os.Stderr, "up:", err)
		return 1
	}
	return 0
}

func run(ctx context.Context, dir, bin string) (err error) {
	programs, err := findPrograms(bin)
	if err != nil {
		return err
	}
	if dir == "" {
		if dir, err = os.MkdirTemp("", "portcullis-cluster-"); err != nil {
			return err
		}
		defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	} else if dir, err = filepath.Abs(dir); err != nil {
		return err
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
	ready, err := start(ctx, children, dir, programs)
	if err != nil {
		return err
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
func findPrograms(bin string) (map[string]string, error) {
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
	found := map[string]string{}
	for _, name := range []string{"etcd", "kube-apiserver", "kubectl", "kube-controller-manager"} {
		path := filepath.Join(bin, name)
		if _, err := os.Stat(path); err != nil && name == "kube-controller-manager" {
			path = filepath.Join(own, name) // ready-made assets come without it
		}
		if _, err := os.Stat(path); err != nil {
			return nil, fmt.Errorf("no %s in %s: %s", name, filepath.Dir(path), remedy)
		}
		found[name] = path
	}
	return found, nil
}

// start starts the control plane in dir and returns when it is usable.
func start(ctx context.Context, children *children, dir string, programs map[string]string) (*announcement, error) {
	ca, err := writePKI(dir)
	if err != nil {
		return nil, err
	}
	apiPort, err := reservePort()
	if err != nil {
		return nil, err
	}
	controllerPort, err := reservePort()
	if err != nil {
		return nil, err
	}
	server := "https://127.0.0.1:" + strconv.Itoa(apiPort)
	adminToken, controllerToken := rand.Text(), rand.Text()
	for name, content := range map[string]string{
		"audit-policy.yaml": auditPolicy,
		"tokens.csv": adminToken + ",admin,admin,system:masters\n" +
			controllerToken + ",system:kube-controller-manager,system:kube-controller-manager\n",
		"kubeconfig":                    kubeconfig(server, ca, "admin", adminToken),
		"controller-manager.kubeconfig": kubeconfig(server, ca, "controller-manager", controllerToken),
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o600); err != nil {
			return nil, err
		}
	}

	// Paths are relative to dir, the children's working directory; sockets have
	// short limits on absolute ones.
	if err := children.start(programs["etcd"],
		"--data-dir=etcd", "--unsafe-no-fsync",
		"--listen-client-urls="+etcdURL,
		// Neither is used, but etcd wants them, and a port of 0 cannot be taken.
		"--advertise-client-urls=http://127.0.0.1:0", "--listen-peer-urls=http://127.0.0.1:0"); err != nil {
		return nil, err
	}
	if err := children.start(programs["kube-apiserver"],
		"--etcd-servers="+etcdURL,
		"--bind-address=127.0.0.1", "--secure-port="+strconv.Itoa(apiPort), "--permit-port-sharing",
		"--tls-cert-file="+servingCert, "--tls-private-key-file="+servingKey,
		// Nothing inside reaches 127.0.0.1 by way of the Service, so none is kept.
		"--advertise-address=127.0.0.1", "--endpoint-reconciler-type=none",
		"--service-cluster-ip-range="+serviceRange,
		"--service-account-key-file="+accountKey, "--service-account-signing-key-file="+accountKey,
		"--service-account-issuer=https://kubernetes.default.svc",
		"--token-auth-file=tokens.csv", "--authorization-mode=Node,RBAC", "--allow-privileged",
		// One file: a rotation would hide the older half from a test.
		"--audit-policy-file=audit-policy.yaml", "--audit-log-path=audit.log", "--audit-log-maxsize=100000",
		// Load tests measure the operator, not this server's fairness.
		"--max-requests-inflight=4000", "--max-mutating-requests-inflight=2000"); err != nil {
		return nil, err
	}
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(ca)
	client := &http.Client{
		Timeout:   5 * time.Second,
		Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: pool}},
	}
	if err := children.await(ctx, "kube-apiserver", get(client, adminToken, server+"/readyz")); err != nil {
		return nil, err
	}

	// Now and not sooner: it gives up when the API server takes too long.
	if err := children.start(programs["kube-controller-manager"],
		"--kubeconfig=controller-manager.kubeconfig", "--kube-api-qps=500", "--kube-api-burst=1000",
		"--bind-address=127.0.0.1", "--secure-port="+strconv.Itoa(controllerPort), "--permit-port-sharing",
		"--tls-cert-file="+servingCert, "--tls-private-key-file="+servingKey,
		"--leader-elect=false", "--use-service-account-credentials",
		"--service-account-private-key-file="+accountKey, "--root-ca-file="+caCert,
		"--controllers="+strings.Join(controllersInUse, ",")); err != nil {
		return nil, err
	}
	controllers := "https://127.0.0.1:" + strconv.Itoa(controllerPort)
	if err := children.await(ctx, "kube-controller-manager", get(client, "", controllers+"/healthz")); err != nil {
		return nil, err
	}
	// Pods and tokens of the default namespace need it.
	account := server + "/api/v1/namespaces/default/serviceaccounts/default"
	if err := children.await(ctx, "the default ServiceAccount", get(client, adminToken, account)); err != nil {
		return nil, err
	}
	return &announcement{
		Kubeconfig: filepath.Join(dir, "kubeconfig"),
		Server:     server,
		Dir:        dir,
		Bin:        filepath.Dir(programs["kubectl"]),
	}, nil
}

// get returns a check that the address answers 200.
func get(client *http.Client, token, address string) func() error {
	return func() error {
		request, err := http.NewRequest(http.MethodGet, address, nil)
		if err != nil {
			return err
		}
		if token != "" {
			request.Header.Set("Authorization", "Bearer "+token)
		}
		response, err := client.Do(request)
		if err != nil {
			return err
		}
		defer response.Body.Close()
		body, _ := io.ReadAll(response.Body)
		if response.StatusCode != http.StatusOK {
			return fmt.Errorf("%s: %s: %s", address, response.Status, body)
		}
		return nil
	}
}

func kubeconfig(server string, ca []byte, user, token string) string {
	return fmt.Sprintf(`apiVersion: v1
kind: Config
clusters:
- name: portcullis-test
  cluster:
    server: %s
    certificate-authority-data: %s
users:
- name: %s
  user:
    token: %s
contexts:
- name: portcullis-test
  context:
    cluster: portcullis-test
    user: %s
current-context: portcullis-test
`, server, base64.StdEncoding.EncodeToString(ca), user, token, user)
}
