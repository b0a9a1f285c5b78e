#!/bin/sh
# Builds Helm once into a cache outside the clone and prints the directory that holds it.
# With --path, prints the directory and builds nothing.
set -eu
cd "$(dirname "$0")"
export LC_ALL=C

say() { echo "helm: $*" >&2; }

cache=${PORTCULLIS_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/portcullis}
sum=$(cat go.sum go.mod build.sh | sha256sum | cut -c1-16)
dir=$cache/helm-$sum

case ${1-} in
'') ;;
--path) echo "$dir"; exit ;;
*) say "usage: build.sh [--path]"; exit 2 ;;
esac
if [ -x "$dir/helm" ]; then
	echo "$dir"
	exit
fi

go_version=$(sed -n 's/^go //p' go.mod)
version=$(sed -n 's,^.*helm.sh/helm/v4 ,,p' go.mod | cut -d' ' -f1)
if ! command -v go >/dev/null; then
	say "go is missing: install Go $go_version or later to build Helm for the tests"
	exit 1
fi

# One build at a time; who waited finds it done.
mkdir -p "$cache"
exec 9>"$cache/helm.lock"
if ! flock -n 9; then
	say "waiting for another build to end"
	flock 9
fi
if [ ! -x "$dir/helm" ]; then
	partial=$cache/helm-partial
	rm -rf "$partial"
	mkdir "$partial"
	say "building Helm $version; the first time takes some minutes"
	# Or it would not say its patch version.
	stamp="-s -w -X helm.sh/helm/v4/internal/version.version=$version"
	CGO_ENABLED=0 go build -trimpath -buildvcs=false -ldflags "$stamp" -o "$partial/helm" helm.sh/helm/v4/cmd/helm >&2
	rm -rf "$dir"
	mv "$partial" "$dir"
	say "built $dir"
fi
echo "$dir"
