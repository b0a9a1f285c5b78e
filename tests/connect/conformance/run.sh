#!/usr/bin/env bash
# Drives the official 1Password Connect clients against the development server. The exit code tells.
# The clients are installed once, under PORTCULLIS_CACHE; CONNECT_DEV may name a server that is already built.
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
cache=${PORTCULLIS_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/portcullis}
wanted=("$here/requirements.txt" "$here/package.json" "$here/package-lock.json" "$here/.npmrc")
clients=$cache/conformance-$(
  { cat "${wanted[@]}"; python3 --version; node --version; } | sha256sum | cut -c1-16
)

install_clients() {
  local making
  mkdir -p "$cache"
  making=$(mktemp -d "$cache/conformance-making.XXXXXX")
  # shellcheck disable=SC2064 # the folder of now
  trap "rm -rf '$making'" EXIT
  cp "${wanted[@]}" "$making/"
  python3 -m venv "$making/venv"
  "$making/venv/bin/python" -m pip install --quiet --disable-pip-version-check --requirement "$making/requirements.txt"
  (cd "$making" && npm ci --silent)
  # In one step; who comes second takes what is there.
  mv -T "$making" "$clients" 2>/dev/null || [[ -d $clients ]]
  rm -rf "$making"
  trap - EXIT
}

[[ -d $clients ]] || install_clients

# The Go client is a program of its own, built once for its sources.
go_client=$cache/conformance-go-$(
  { cat "$here"/go/go.mod "$here"/go/go.sum "$here"/go/*.go; go version; } | sha256sum | cut -c1-16
)

build_go_client() {
  local making
  mkdir -p "$cache"
  making=$(mktemp "$cache/conformance-go-making.XXXXXX")
  # shellcheck disable=SC2064 # the file of now
  trap "rm -f '$making'" EXIT
  (cd "$here/go" && CGO_ENABLED=0 go build -trimpath -buildvcs=false -o "$making" .)
  mv "$making" "$go_client"
  trap - EXIT
}

[[ -x $go_client ]] || build_go_client

server=${CONNECT_DEV:-}
if [[ -z $server ]]; then
  server=$(cd "$here" && cargo build --quiet -p connect-dev --bin connect-dev --message-format=json-render-diagnostics |
    sed -n 's/.*"executable":"\([^"]*\)".*/\1/p')
fi

# It ends when its standard input closes, so also when this script is killed.
coproc SERVER {
  exec "$server" --state "$here/state.yaml" --listen 127.0.0.1:0 --admin 127.0.0.1:0 --exit-with-stdin
}
pid=$SERVER_PID to=${SERVER[1]}
if ! read -r -t 30 line <&"${SERVER[0]}"; then
  echo "connect-dev did not start" >&2
  exit 1
fi
url=$(sed 's/.*"url":"\([^"]*\)".*/\1/' <<<"$line")
admin=$(sed 's/.*"admin":"\([^"]*\)".*/\1/' <<<"$line")

# The server is on the loopback, whatever proxy the machine has.
export NO_PROXY=127.0.0.1 no_proxy=127.0.0.1
code=0
"$clients/venv/bin/python" "$here/check.py" "$url" || code=1
CONFORMANCE_MODULES=$clients node "$here/check.mjs" "$url" || code=1
"$go_client" "$url" "$admin" || code=1

exec {to}>&-
wait "$pid" || code=1
exit "$code"
