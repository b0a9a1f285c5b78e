#!/usr/bin/env bash
# Starts a node with the images on it, says how another shell reaches it, and stays until Ctrl-C. As root.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."

if ((EUID != 0)); then
  echo 'node: it needs root: it makes namespaces, mounts and a network' >&2
  exit 1
fi
images=$(tests/images/build.sh)
cluster=$(tests/cluster/build.sh)
helm=$(tests/helm/build.sh)
"$cluster/up" --node --image "$images/busybox.tar" --image "$images/connect-dev.tar" --image "$images/portcullis.tar" \
  | {
    read -r ready
    kubeconfig=$(sed -n 's/.*"kubeconfig":"\([^"]*\)".*/\1/p' <<<"$ready")
    printf '\nThe node is there until Ctrl-C. In another shell:\n\n'
    printf '    export KUBECONFIG=%q PATH=%q:%q:$PATH\n\n' "$kubeconfig" "$cluster" "$helm"
    cat
  }
