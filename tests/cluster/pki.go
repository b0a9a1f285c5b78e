package main

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"time"
)

// Names of the files that writePKI and writeNodePKI leave in their directory.
const (
	caCert     = "ca.crt"
	servingKey = "serving.key"
	// servingCert holds the names by which tests and pods reach the API server.
	servingCert = "serving.crt"
	// accountKey signs ServiceAccount tokens; their verifiers read its public half.
	accountKey = "sa.key"
	// kubeletCert is what the kubelet serves with, for `kubectl logs` and `exec`.
	kubeletCert, kubeletKey = "kubelet.crt", "kubelet.key"
	// toKubeletCert is by what it knows the API server.
	toKubeletCert, toKubeletKey = "to-kubelet.crt", "to-kubelet.key"
)

// authority signs the certificates of one run into a directory. It is our own,
// rather than each server's, so that clients verify what they are connected to
// as they would anywhere else.
type authority struct {
	dir  string
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
	made int64
}

// newAuthority makes an authority and writes its certificate.
func newAuthority(dir string) (*authority, error) {
	notBefore := time.Now().Add(-time.Hour)
	ca := &authority{dir: dir, made: 1, cert: &x509.Certificate{
		SerialNumber:          big.NewInt(1),
		Subject:               pkix.Name{CommonName: "portcullis-test-ca"},
		NotBefore:             notBefore,
		NotAfter:              notBefore.AddDate(1, 0, 0),
		KeyUsage:              x509.KeyUsageCertSign,
		IsCA:                  true,
		BasicConstraintsValid: true,
	}}
	var err error
	if ca.key, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader); err != nil {
		return nil, err
	}
	der, err := x509.CreateCertificate(rand.Reader, ca.cert, ca.cert, ca.key.Public(), ca.key)
	if err != nil {
		return nil, err
	}
	return ca, writePEM(dir, caCert, "CERTIFICATE", der)
}

// sign writes a certificate of this shape and its key.
func (ca *authority) sign(shape *x509.Certificate, certFile, keyFile string) error {
	key, err := writeKey(ca.dir, keyFile)
	if err != nil {
		return err
	}
	ca.made++
	shape.SerialNumber = big.NewInt(ca.made)
	shape.NotBefore, shape.NotAfter = ca.cert.NotBefore, ca.cert.NotAfter
	shape.KeyUsage = x509.KeyUsageDigitalSignature
	der, err := x509.CreateCertificate(rand.Reader, shape, ca.cert, key.Public(), ca.key)
	if err != nil {
		return err
	}
	return writePEM(ca.dir, certFile, "CERTIFICATE", der)
}

// writePKI makes the keys and certificates of a control plane that answers at
// this address.
func writePKI(dir string, address net.IP) (*authority, error) {
	ca, err := newAuthority(dir)
	if err != nil {
		return nil, err
	}
	if _, err := writeKey(dir, accountKey); err != nil {
		return nil, err
	}
	return ca, ca.sign(&x509.Certificate{
		Subject:     pkix.Name{CommonName: "kube-apiserver"},
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
		DNSNames: []string{
			"localhost", "kubernetes", "kubernetes.default",
			"kubernetes.default.svc", "kubernetes.default.svc.cluster.local",
		},
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1), address, net.ParseIP(serviceIP)},
	}, servingCert, servingKey)
}

// writeNodePKI adds what the API server and the kubelet know each other by.
func writeNodePKI(ca *authority, address net.IP) error {
	if err := ca.sign(&x509.Certificate{
		Subject:     pkix.Name{CommonName: "kubelet"},
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
		IPAddresses: []net.IP{address},
	}, kubeletCert, kubeletKey); err != nil {
		return err
	}
	return ca.sign(&x509.Certificate{
		Subject:     pkix.Name{CommonName: "kube-apiserver", Organization: []string{"system:masters"}},
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
	}, toKubeletCert, toKubeletKey)
}

func writeKey(dir, name string) (*ecdsa.PrivateKey, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	der, err := x509.MarshalECPrivateKey(key)
	if err != nil {
		return nil, err
	}
	return key, writePEM(dir, name, "EC PRIVATE KEY", der)
}

func writePEM(dir, name, kind string, der []byte) error {
	block := pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der})
	return os.WriteFile(filepath.Join(dir, name), block, 0o600)
}
