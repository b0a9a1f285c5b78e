#!/usr/bin/env bash
# Packs the images named, or all, into OCI archives and prints the folder that holds them. It needs no registry.
#   portcullis   the operator, by the last stage of the Dockerfile
#   connect-dev  the development Connect server
#   busybox      Debian's, as the application of the tests and as what holds pods open
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."

(($# > 0)) || set -- portcullis connect-dev busybox
version=$(sed -n '0,/^version = /s/^version = "\(.*\)"/\1/p' Cargo.toml)
target=$(uname -m)-unknown-linux-musl
images=$(realpath "${CARGO_TARGET_DIR:-target}")/images

for program in buildah musl-gcc; do
  if ! command -v "$program" >/dev/null; then
    echo "images: $program is missing: tests/cluster/packages.sh installs it" >&2
    exit 1
  fi
done
if ! rustc --print target-libdir --target "$target" | xargs test -d; then
  rustup target add "$target" >&2
fi

mkdir -p "$images"
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
buildah() {
  command buildah --root "$work/store" --runroot "$work/run" --storage-driver vfs "$@"
}
program() { # name: where cargo has put it
  cargo build --release --locked --package "$1" --target "$target" --message-format=json-render-diagnostics \
    | sed -n 's/.*"executable":"\([^"]*\)".*/\1/p'
}
pack() { # file, name and tag of what is in the store
  rm -f "$images/$1.tar"
  buildah push --quiet "$2" "oci-archive:$images/$1.tar:$2"
}
plain() { # file, name and tag, entrypoint: an image of what is in $work/FILE
  local container
  container=$(buildah from scratch)
  buildah copy --quiet "$container" "$work/$1" / >/dev/null
  buildah config --user 65532:65532 --entrypoint "$3" "$container"
  buildah commit --quiet "$container" "$2" >/dev/null
  pack "$1" "$2"
}

for image; do
  case $image in
  portcullis)
    install -D "$(program portcullis)" "$work/build/out/portcullis"
    install -D --mode=644 /etc/ssl/certs/ca-certificates.crt "$work/build/out/etc/ssl/certs/ca-certificates.crt"
    # The folder stands in for the stage that builds.
    buildah build --quiet --isolation chroot --build-context "build=$work/build" --build-arg "VERSION=$version" \
      --tag "localhost/portcullis:$version" . >/dev/null
    pack portcullis "localhost/portcullis:$version"
    ;;
  connect-dev)
    install -D "$(program connect-dev)" "$work/connect-dev/connect-dev"
    plain connect-dev localhost/connect-dev:test '["/connect-dev"]'
    ;;
  busybox)
    # Under the name by which deploy/examples asks for it.
    install -D "$(command -v busybox)" "$work/busybox/bin/busybox"
    for applet in sh cat env ls sleep; do
      ln -s busybox "$work/busybox/bin/$applet"
    done
    plain busybox docker.io/library/busybox:1.37 '["/bin/sleep", "infinity"]'
    ;;
  *) echo "images: there is no image $image" >&2; exit 2 ;;
  esac
done
echo "$images"
