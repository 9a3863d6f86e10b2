package main

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"time"
)

// An identity is whom a certificate speaks for.
type identity struct {
	file         string // name of the files, without .crt and .key
	user, group  string
	dnsNames     []string
	ips          []string
	kubeconfiged bool // has a kubeconfig too
}

var identities = []identity{
	{file: "apiserver", user: "kube-apiserver", group: "system:masters", ips: []string{"127.0.0.1", nodeIP, serviceIP},
		dnsNames: []string{"localhost", "kubernetes", "kubernetes.default", "kubernetes.default.svc", "kubernetes.default.svc.cluster.local"}},
	{file: "kubelet", user: "system:node:" + nodeName, group: "system:nodes", ips: []string{nodeIP}, dnsNames: []string{nodeName}, kubeconfiged: true},
	{file: "admin", user: "admin", group: "system:masters", kubeconfiged: true},
	{file: "controller-manager", user: "system:kube-controller-manager", kubeconfiged: true},
	{file: "scheduler", user: "system:kube-scheduler", kubeconfiged: true},
	{file: "proxy", user: "system:kube-proxy", kubeconfiged: true},
	{file: "front-proxy", user: "front-proxy"},
}

// writePKI makes the cluster's certificate authority, the certificates and the
// kubeconfigs of its parts, and the key that signs service accounts' tokens. What
// is complete in dir stays.
func writePKI(dir string, now time.Time) error {
	done := filepath.Join(dir, "complete")
	if _, err := os.Stat(done); err == nil {
		return nil
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	ca := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "self-scaling test cluster"},
		NotBefore: now.Add(-time.Hour), NotAfter: now.AddDate(1, 0, 0),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageDigitalSignature,
	}
	caKey, err := writeKey(filepath.Join(dir, "ca.key"))
	if err != nil {
		return err
	}
	caPEM, err := writeCert(filepath.Join(dir, "ca.crt"), ca, ca, caKey, caKey)
	if err != nil {
		return err
	}
	for i, id := range identities {
		cert := &x509.Certificate{
			SerialNumber: big.NewInt(int64(i) + 2), Subject: pkix.Name{CommonName: id.user}, DNSNames: id.dnsNames,
			NotBefore: now.Add(-time.Hour), NotAfter: now.AddDate(1, 0, 0), KeyUsage: x509.KeyUsageDigitalSignature,
			ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth, x509.ExtKeyUsageServerAuth},
		}
		if id.group != "" {
			cert.Subject.Organization = []string{id.group}
		}
		for _, ip := range id.ips {
			cert.IPAddresses = append(cert.IPAddresses, net.ParseIP(ip))
		}
		key, err := writeKey(filepath.Join(dir, id.file+".key"))
		if err != nil {
			return err
		}
		certPEM, err := writeCert(filepath.Join(dir, id.file+".crt"), cert, ca, key, caKey)
		if err != nil {
			return err
		}
		if !id.kubeconfiged {
			continue
		}
		keyPEM, err := os.ReadFile(filepath.Join(dir, id.file+".key"))
		if err != nil {
			return err
		}
		if err := os.WriteFile(filepath.Join(dir, id.file+".kubeconfig"), kubeconfig(caPEM, certPEM, keyPEM), 0o600); err != nil {
			return err
		}
	}
	tokens, err := writeKey(filepath.Join(dir, "tokens.key"))
	if err != nil {
		return err
	}
	public, err := x509.MarshalPKIXPublicKey(&tokens.PublicKey)
	if err != nil {
		return err
	}
	publicPEM := pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: public})
	if err := os.WriteFile(filepath.Join(dir, "tokens.pub"), publicPEM, 0o600); err != nil {
		return err
	}
	return os.WriteFile(done, nil, 0o600)
}

func writeKey(path string) (*ecdsa.PrivateKey, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	der, err := x509.MarshalECPrivateKey(key)
	if err != nil {
		return nil, err
	}
	return key, os.WriteFile(path, pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: der}), 0o600)
}

func writeCert(path string, cert, parent *x509.Certificate, key, parentKey *ecdsa.PrivateKey) ([]byte, error) {
	der, err := x509.CreateCertificate(rand.Reader, cert, parent, &key.PublicKey, parentKey)
	if err != nil {
		return nil, err
	}
	data := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
	return data, os.WriteFile(path, data, 0o600)
}

func kubeconfig(ca, cert, key []byte) []byte {
	b64 := base64.StdEncoding.EncodeToString
	return fmt.Appendf(nil, `apiVersion: v1
kind: Config
current-context: self-scaling
clusters:
- name: self-scaling
  cluster: {server: "https://%s:6443", certificate-authority-data: %s}
users:
- name: self-scaling
  user: {client-certificate-data: %s, client-key-data: %s}
contexts:
- name: self-scaling
  context: {cluster: self-scaling, user: self-scaling}
`, nodeIP, b64(ca), b64(cert), b64(key))
}
