package main

import (
	"context"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
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

// endpoint is the API server, and the administrator's way to it.
type endpoint struct {
	server, token string
	client        *http.Client
}

// startControlPlane starts it in dir and returns when it is usable, by the node
// if there is one.
func startControlPlane(ctx context.Context, children *children, dir string, programs map[string]string, n *node) (*endpoint, error) {
	address := net.IPv4(127, 0, 0, 1)
	if n != nil {
		address = n.host
	}
	ca, err := writePKI(dir, address)
	if err != nil {
		return nil, err
	}
	apiPort, err := reservePort(address)
	if err != nil {
		return nil, err
	}
	at := &endpoint{server: fmt.Sprintf("https://%s:%d", address, apiPort), token: rand.Text()}
	if at.client, err = clientOf(dir); err != nil {
		return nil, err
	}
	accounts := []account{
		{"admin", at.token, "admin", "system:masters"},
		{"controller-manager", rand.Text(), "system:kube-controller-manager", ""},
	}
	if n != nil {
		if err := writeNodePKI(ca, n.address); err != nil {
			return nil, err
		}
		for _, a := range nodeAccounts {
			accounts = append(accounts, account{a.name, rand.Text(), a.user, a.groups})
		}
	}
	if err := writeAccounts(dir, at.server, accounts); err != nil {
		return nil, err
	}
	if err := os.WriteFile(filepath.Join(dir, "audit-policy.yaml"), []byte(auditPolicy), 0o600); err != nil {
		return nil, err
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
	serving := []string{"--tls-cert-file=" + servingCert, "--tls-private-key-file=" + servingKey, "--permit-port-sharing"}
	apiserver := append([]string{
		"--etcd-servers=" + etcdURL,
		"--bind-address=" + address.String(), "--secure-port=" + strconv.Itoa(apiPort),
		"--advertise-address=" + address.String(),
		"--service-cluster-ip-range=" + serviceRange,
		"--service-account-key-file=" + accountKey, "--service-account-signing-key-file=" + accountKey,
		"--service-account-issuer=https://kubernetes.default.svc",
		"--token-auth-file=tokens.csv", "--authorization-mode=Node,RBAC", "--allow-privileged",
		// One file: a rotation would hide the older half from a test.
		"--audit-policy-file=audit-policy.yaml", "--audit-log-path=audit.log", "--audit-log-maxsize=100000",
		// Served by themselves from 1.36 on: the chart has one.
		"--feature-gates=MutatingAdmissionPolicy=true", "--runtime-config=admissionregistration.k8s.io/v1beta1=true",
		// Load tests measure the operator, not this server's fairness.
		"--max-requests-inflight=4000", "--max-mutating-requests-inflight=2000",
	}, serving...)
	if n == nil {
		// Nothing inside reaches 127.0.0.1 by way of the Service, so none is kept.
		apiserver = append(apiserver, "--endpoint-reconciler-type=none")
	} else {
		apiserver = append(apiserver, "--enable-admission-plugins=NodeRestriction",
			"--kubelet-preferred-address-types=InternalIP", "--kubelet-certificate-authority="+caCert,
			"--kubelet-client-certificate="+toKubeletCert, "--kubelet-client-key="+toKubeletKey)
	}
	if err := children.start(programs["kube-apiserver"], apiserver...); err != nil {
		return nil, err
	}
	if err := children.await(ctx, "kube-apiserver", at.check(at.server+"/readyz")); err != nil {
		return nil, err
	}

	// Now and not sooner: it gives up when the API server takes too long.
	controllers := controllersInUse
	if n != nil {
		controllers = slices.Concat(controllers, nodeControllers)
	}
	if err := startBeside(ctx, children, at, programs["kube-controller-manager"], append([]string{
		"--kubeconfig=controller-manager.kubeconfig", "--kube-api-qps=500", "--kube-api-burst=1000",
		"--leader-elect=false", "--use-service-account-credentials",
		"--service-account-private-key-file=" + accountKey, "--root-ca-file=" + caCert,
		"--controllers=" + strings.Join(controllers, ","),
	}, serving...)); err != nil {
		return nil, err
	}
	if n != nil {
		if err := startBeside(ctx, children, at, programs["kube-scheduler"], append([]string{
			"--kubeconfig=kube-scheduler.kubeconfig", "--leader-elect=false",
		}, serving...)); err != nil {
			return nil, err
		}
	}
	// Pods and tokens of the default namespace need it.
	account := at.check(at.server + "/api/v1/namespaces/default/serviceaccounts/default")
	return at, children.await(ctx, "the default ServiceAccount", account)
}

// startBeside starts a program that works for the API server, and waits for its health.
func startBeside(ctx context.Context, children *children, at *endpoint, path string, args []string) error {
	localhost := net.IPv4(127, 0, 0, 1)
	port, err := reservePort(localhost)
	if err != nil {
		return err
	}
	args = append(args, "--bind-address="+localhost.String(), "--secure-port="+strconv.Itoa(port))
	if err := children.start(path, args...); err != nil {
		return err
	}
	health := fmt.Sprintf("https://%s:%d/healthz", localhost, port)
	return children.await(ctx, filepath.Base(path), at.check(health))
}

// clientOf returns a client that trusts the authority of the run in dir.
func clientOf(dir string) (*http.Client, error) {
	ca, err := os.ReadFile(filepath.Join(dir, caCert))
	if err != nil {
		return nil, err
	}
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(ca)
	return &http.Client{
		Timeout:   5 * time.Second,
		Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: pool}},
	}, nil
}

// check returns a check that the address answers 200.
func (at *endpoint) check(address string) func() error {
	return func() error {
		_, err := at.get(address)
		return err
	}
}

// read reads an object of the API server.
func (at *endpoint) read(path string, object any) error {
	body, err := at.get(at.server + path)
	if err != nil {
		return err
	}
	return json.Unmarshal(body, object)
}

func (at *endpoint) get(address string) ([]byte, error) {
	request, err := http.NewRequest(http.MethodGet, address, nil)
	if err != nil {
		return nil, err
	}
	if strings.HasPrefix(address, at.server+"/") {
		request.Header.Set("Authorization", "Bearer "+at.token)
	}
	response, err := at.client.Do(request)
	if err != nil {
		return nil, err
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err == nil && response.StatusCode != http.StatusOK {
		err = fmt.Errorf("%s: %s: %s", address, response.Status, body)
	}
	return body, err
}

// account is somebody who speaks to the API server with a token.
type account struct{ name, token, user, group string }

// writeAccounts tells the API server of the accounts, and gives each a kubeconfig:
// `kubeconfig` to the first, who is the administrator.
func writeAccounts(dir, server string, accounts []account) error {
	ca, err := os.ReadFile(filepath.Join(dir, caCert))
	if err != nil {
		return err
	}
	var tokens strings.Builder
	for i, a := range accounts {
		fmt.Fprintf(&tokens, "%s,%s,%s,%s\n", a.token, a.user, a.user, a.group)
		file := a.name + ".kubeconfig"
		if i == 0 {
			file = "kubeconfig"
		}
		content := kubeconfig(server, ca, a.name, a.token)
		if err := os.WriteFile(filepath.Join(dir, file), []byte(content), 0o600); err != nil {
			return err
		}
	}
	return os.WriteFile(filepath.Join(dir, "tokens.csv"), []byte(tokens.String()), 0o600)
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
