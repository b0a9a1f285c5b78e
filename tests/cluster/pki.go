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

// Names of the files that writePKI leaves in its directory.
const (
	caCert     = "ca.crt"
	servingKey = "serving.key"
	// servingCert holds the names by which tests and pods reach the API server.
	servingCert = "serving.crt"
	// accountKey signs ServiceAccount tokens; their verifiers read its public half.
	accountKey = "sa.key"
)

// writePKI makes the keys and certificates of one run and returns the CA in PEM.
// The CA is our own, rather than the server's self-signed certificate, so that
// clients verify what they are connected to as they would anywhere else.
func writePKI(dir string) ([]byte, error) {
	notBefore := time.Now().Add(-time.Hour)
	ca := &x509.Certificate{
		SerialNumber:          big.NewInt(1),
		Subject:               pkix.Name{CommonName: "portcullis-test-ca"},
		NotBefore:             notBefore,
		NotAfter:              notBefore.AddDate(1, 0, 0),
		KeyUsage:              x509.KeyUsageCertSign,
		IsCA:                  true,
		BasicConstraintsValid: true,
	}
	serving := &x509.Certificate{
		SerialNumber: big.NewInt(2),
		Subject:      pkix.Name{CommonName: "kube-apiserver"},
		NotBefore:    notBefore,
		NotAfter:     ca.NotAfter,
		KeyUsage:     x509.KeyUsageDigitalSignature,
		ExtKeyUsage:  []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
		DNSNames: []string{
			"localhost", "kubernetes", "kubernetes.default",
			"kubernetes.default.svc", "kubernetes.default.svc.cluster.local",
		},
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1), net.ParseIP(serviceIP)},
	}

	keys := make([]*ecdsa.PrivateKey, 3)
	for i := range keys {
		key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
		if err != nil {
			return nil, err
		}
		keys[i] = key
	}
	ca509, err := x509.CreateCertificate(rand.Reader, ca, ca, keys[0].Public(), keys[0])
	if err != nil {
		return nil, err
	}
	serving509, err := x509.CreateCertificate(rand.Reader, serving, ca, keys[1].Public(), keys[0])
	if err != nil {
		return nil, err
	}
	for name, key := range map[string]*ecdsa.PrivateKey{servingKey: keys[1], accountKey: keys[2]} {
		der, err := x509.MarshalECPrivateKey(key)
		if err != nil {
			return nil, err
		}
		if err := writePEM(dir, name, "EC PRIVATE KEY", der); err != nil {
			return nil, err
		}
	}
	if err := writePEM(dir, servingCert, "CERTIFICATE", serving509); err != nil {
		return nil, err
	}
	if err := writePEM(dir, caCert, "CERTIFICATE", ca509); err != nil {
		return nil, err
	}
	return os.ReadFile(filepath.Join(dir, caCert))
}

func writePEM(dir, name, kind string, der []byte) error {
	block := pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der})
	return os.WriteFile(filepath.Join(dir, name), block, 0o600)
}
