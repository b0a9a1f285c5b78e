package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"strings"
	"time"

	"golang.org/x/net/dns/dnsmessage"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/clientcmd"
)

const (
	clusterDomain = "cluster.local"
	dnsTTL        = 5 // seconds
)

// nodeDNS answers the names of Services with their addresses. What a Service
// has is asked of the API server each time: it is right here, and nothing can
// be out of date. Names from elsewhere do not exist: no test leaves the machine.
func nodeDNS() int {
	if len(os.Args) != 3 {
		fmt.Fprintln(os.Stderr, "usage: node-dns KUBECONFIG ADDRESS")
		return 2
	}
	fmt.Fprintln(os.Stderr, "node-dns:", serveDNS(os.Args[1], os.Args[2]))
	return 1
}

func serveDNS(kubeconfig, address string) error {
	config, err := clientcmd.BuildConfigFromFlags("", kubeconfig)
	if err != nil {
		return err
	}
	client, err := kubernetes.NewForConfig(config)
	if err != nil {
		return err
	}
	socket, err := net.ListenPacket("udp", address)
	if err != nil {
		return err
	}
	for {
		question := make([]byte, 512) // as long as they may be
		length, from, err := socket.ReadFrom(question)
		if err != nil {
			return err
		}
		go func() {
			answer, err := answerDNS(client, question[:length])
			if err == nil {
				_, err = socket.WriteTo(answer, from)
			}
			if err != nil {
				fmt.Fprintln(os.Stderr, "node-dns:", err)
			}
		}()
	}
}

// answerDNS answers the first question of a message, as all resolvers send one.
func answerDNS(client kubernetes.Interface, message []byte) ([]byte, error) {
	var parser dnsmessage.Parser
	header, err := parser.Start(message)
	if err != nil {
		return nil, err
	}
	question, err := parser.Question()
	if err != nil {
		return nil, err
	}
	header.Response, header.Authoritative, header.RecursionAvailable = true, true, true
	addresses, err := addressesOf(client, question.Name.String())
	switch {
	case errors.Is(err, errNoName):
		header.RCode = dnsmessage.RCodeNameError
	case err != nil:
		fmt.Fprintln(os.Stderr, "node-dns:", err)
		header.RCode = dnsmessage.RCodeServerFailure
	}
	answer := dnsmessage.NewBuilder(nil, header)
	if err := answer.StartQuestions(); err != nil {
		return nil, err
	}
	if err := answer.Question(question); err != nil {
		return nil, err
	}
	if err := answer.StartAnswers(); err != nil {
		return nil, err
	}
	for _, address := range addresses {
		if question.Type != dnsmessage.TypeA {
			break // the name is there, and has no such record
		}
		resource := dnsmessage.ResourceHeader{Name: question.Name, Class: question.Class, TTL: dnsTTL}
		if err := answer.AResource(resource, dnsmessage.AResource{A: [4]byte(address)}); err != nil {
			return nil, err
		}
	}
	return answer.Finish()
}

var errNoName = errors.New("no such name")

// addressesOf returns the IPv4 addresses of the Service with this name,
// NAME.NAMESPACE.svc.cluster.local.
func addressesOf(client kubernetes.Interface, name string) ([]net.IP, error) {
	labels := strings.TrimSuffix(strings.ToLower(name), ".svc."+clusterDomain+".")
	service, namespace, found := strings.Cut(labels, ".")
	if !found || labels == strings.ToLower(name) || strings.Contains(namespace, ".") {
		return nil, errNoName
	}
	ctx, cancel := context.WithTimeout(context.Background(), 3*time.Second)
	defer cancel()
	// A list, which also says that there is none without an error to tell apart.
	selected := metav1.ListOptions{FieldSelector: "metadata.name=" + service}
	list, err := client.CoreV1().Services(namespace).List(ctx, selected)
	if err != nil {
		return nil, err
	}
	if len(list.Items) == 0 {
		return nil, errNoName
	}
	var addresses []net.IP
	for _, text := range list.Items[0].Spec.ClusterIPs {
		if address := net.ParseIP(text).To4(); address != nil {
			addresses = append(addresses, address)
		}
	}
	return addresses, nil
}
