#!/bin/sh
# Installs what a node and the images of `make e2e` need of Debian's or Ubuntu's packages, and only what is missing.
set -eu

missing=
need() { # package, a file or program of it
	case $2 in
	/*) [ -e "$2" ] ;;
	*) command -v "$2" >/dev/null ;;
	esac || missing="$missing $1"
}
need containerd containerd
need runc runc
need containernetworking-plugins /usr/lib/cni/bridge
need iptables iptables
need conntrack conntrack
need iproute2 ip
need util-linux nsenter
need buildah buildah
need busybox-static busybox
need musl-tools musl-gcc
need ca-certificates /etc/ssl/certs/ca-certificates.crt
[ -n "$missing" ] || exit 0

if [ "$(id -u)" != 0 ]; then
	echo "packages: missing, and only root can install them:$missing" >&2
	exit 1
fi
echo "packages: installing$missing" >&2
export DEBIAN_FRONTEND=noninteractive
apt-get update -qq
# shellcheck disable=SC2086 # one word each
apt-get install -qq -y --no-install-recommends $missing >/dev/null
