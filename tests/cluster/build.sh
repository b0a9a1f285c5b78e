#!/bin/sh
# Builds the test control plane once into a cache outside the clone and prints
# the directory that holds it. With --path, prints the directory and builds nothing.
set -eu
cd "$(dirname "$0")"
export LC_ALL=C

say() { echo "cluster: $*" >&2; }

cache=${PORTCULLIS_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/portcullis}
sum=$(cat go.sum go.mod ./*.go build.sh | sha256sum | cut -c1-16)
dir=$cache/cluster-$sum

case ${1-} in
'') ;;
--path) echo "$dir"; exit ;;
*) say "usage: build.sh [--path]"; exit 2 ;;
esac
if [ -x "$dir/cluster" ]; then
	echo "$dir"
	exit
fi

go_version=$(sed -n 's/^go //p' go.mod)
version=$(sed -n 's,^.*k8s.io/kubernetes v,,p' go.mod)
if ! command -v go >/dev/null; then
	say "go is missing: install Go $go_version or later to build Kubernetes for the tests"
	exit 1
fi
if [ "$(go env GOOS)" != linux ]; then
	say "the test control plane runs on Linux only: set PORTCULLIS_TEST_KUBECONFIG to the kubeconfig of a cluster of your own instead"
	exit 1
fi

# One build at a time; who waited finds it done. A killed build leaves its lock
# free as soon as its compiler has ended too, and its remains to the next.
mkdir -p "$cache"
exec 9>"$cache/cluster.lock"
if ! flock -n 9; then
	say "waiting for another build to end"
	flock 9
fi
if [ ! -x "$dir/cluster" ]; then
	partial=$cache/cluster-partial
	rm -rf "$partial"
	mkdir "$partial"
	say "building etcd and Kubernetes $version"
	say "the first time takes some minutes and 3 GB of Go's build cache"

	stamp="-s -w"
	for package in k8s.io/component-base/version k8s.io/client-go/pkg/version; do
		stamp="$stamp -X $package.gitVersion=v$version -X $package.gitMajor=${version%%.*}"
		minor=${version#*.}
		stamp="$stamp -X $package.gitMinor=${minor%%.*} -X $package.gitTreeState=clean"
	done
	# Without cgo it needs no C compiler and runs on any Linux.
	CGO_ENABLED=0 go build -trimpath -buildvcs=false -ldflags "$stamp" -o "$partial/cluster" . >&2
	for name in etcd kube-apiserver kube-controller-manager kube-scheduler kubectl kubelet kube-proxy node-init node-dns up; do
		ln -s cluster "$partial/$name"
	done
	rm -rf "$dir"
	mv "$partial" "$dir"
	say "built $dir"
fi
echo "$dir"
