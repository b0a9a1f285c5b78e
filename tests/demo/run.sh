#!/usr/bin/env bash
# Shows the operator at work: a control plane, a development Connect server and the operator as the ServiceAccount
# that deploy/ makes, and what people do with them. Ends by itself and leaves nothing behind; KEEP=1 leaves it all up
# until Ctrl-C, or until standard input is closed.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."

# --- How it ends -----------------------------------------------------------------------------------------------------

step='starting'
run=''       # the folder of this run
lifeline=''  # every server here ends when its standard input does: this descriptor is the other end
servers=()   # their process ids
watcher=''   # the kubectl that watches the Secret
logs=()      # shown when a step fails

end() {
  local code=$?
  trap '' INT TERM
  if ((code != 0 && code < 128)); then
    printf '\nThe demo failed at: %s\n' "$step" >&2
    for log in "${logs[@]}"; do
      [[ -s $log ]] || continue
      printf '\n--- the end of %s\n' "${log##*/}" >&2
      tail -n 20 "$log" >&2
    done
  fi
  if [[ -n $watcher ]]; then kill "$watcher" 2>/dev/null || true; fi
  if [[ -n $lifeline ]]; then exec {lifeline}>&-; fi
  for pid in "${servers[@]}"; do wait "$pid" 2>/dev/null || true; done
  if [[ -n $run ]]; then rm -rf "$run"; fi
  exit "$code"
}
trap end EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

fail() {
  printf '%s\n' "$*" >&2
  exit 1
}

# --- How it shows ----------------------------------------------------------------------------------------------------

bold='' dim='' plain=''
if [[ -t 1 && -z ${NO_COLOR:-} ]]; then bold=$'\e[1m' dim=$'\e[2m' plain=$'\e[0m'; fi

title() { step=$1; printf '\n%s%s%s\n' "$bold" "$1" "$plain"; }
say() { printf '  %s\n' "$*"; }
# Shows a command as one would type it.
typed() { printf '  %s$ %s%s\n' "$dim" "$*" "$plain"; }
# Shows a command, runs it and shows what it says.
show() { typed "${*@Q}" | sed "s/'\([A-Za-z0-9_.,:\/=-]*\)'/\1/g"; "$@" 2>&1 | sed 's/^/  /'; }

# --- How it waits ----------------------------------------------------------------------------------------------------

now_us() { printf '%s' "${EPOCHREALTIME/[.,]/}"; }

# Waits until a command succeeds.
eventually() { # what, seconds, command...
  local what=$1 deadline=$((SECONDS + $2))
  shift 2
  until "$@" >/dev/null 2>&1; do
    if ((SECONDS > deadline)); then fail "waited in vain for $what"; fi
    sleep 0.1
  done
}

# The JSON line by which a server says that it is ready, from the file that its output goes to.
announcement() { # file, pid
  local deadline=$((SECONDS + 120))
  until [[ -s $1 ]]; do
    if ! kill -0 "$2" 2>/dev/null; then fail 'it ended before it was ready'; fi
    if ((SECONDS > deadline)); then fail 'it was not ready in time'; fi
    sleep 0.05
  done
  head -n 1 "$1"
}
field() { sed -n "s/.*\"$1\":\"\([^\"]*\)\".*/\1/p"; }

# What curl -X PUT --data does, for a machine without it.
call() { # method, origin, path, body
  local at=${2#http://} web status
  exec {web}<>"/dev/tcp/${at%:*}/${at#*:}"
  printf '%s %s HTTP/1.1\r\nHost: %s\r\nConnection: close\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s' \
    "$1" "$3" "$at" "${#4}" "$4" >&"$web"
  read -r _ status _ <&"$web"
  exec {web}>&-
  [[ $status == 20* ]] || fail "the development Connect server answered $status"
}

# A private key of Ed25519 in PKCS#8 (RFC 8410), as a line of base64.
private_key() {
  { printf '\x30\x2e\x02\x01\x00\x30\x05\x06\x03\x2b\x65\x70\x04\x22\x04\x20' && head -c 32 /dev/urandom; } | base64 -w 0
}
random() { head -c 18 /dev/urandom | base64 | tr -d '+/=\n'; }

# --- What is needed --------------------------------------------------------------------------------------------------

step='looking for the toolchains'
for tool in cargo go; do
  command -v "$tool" >/dev/null || fail "$tool is missing"
done

title 'Building what is missing'
assets=$(tests/cluster/build.sh)
built=$(cargo build -p portcullis -p connect-dev --bins --message-format=json-render-diagnostics |
  sed -n 's/.*"executable":"\([^"]*\)".*/\1/p')
portcullis=$(grep '/portcullis$' <<<"$built")
connect_dev=$(grep '/connect-dev$' <<<"$built")

# --- Starting --------------------------------------------------------------------------------------------------------

begun=$SECONDS
run=$(mktemp -d "${TMPDIR:-/tmp}/portcullis-demo.XXXXXX")
mkfifo "$run/lifeline"
exec {lifeline}<>"$run/lifeline"
logs=("$run/cluster.log" "$run/connect.log" "$run/operator.log")
# Everything is on the loopback, whatever proxy the machine has.
export NO_PROXY=127.0.0.1 no_proxy=127.0.0.1
export KUBECACHEDIR=$run/kubectl-cache

title 'Starting a control plane: etcd, kube-apiserver, kube-controller-manager'
"$assets/up" --dir "$run/cluster" <"$run/lifeline" {lifeline}>&- >"$run/cluster.json" 2>"$run/cluster.log" &
servers+=($!)
ready=$(announcement "$run/cluster.json" $!)
KUBECONFIG=$(field kubeconfig <<<"$ready")
PATH=$(field bin <<<"$ready"):$PATH
export KUBECONFIG PATH
say "$(field server <<<"$ready")"

title 'Starting a development Connect server, in place of 1Password Connect'
token=$(random)
sed -e "s/@TOKEN@/$token/" -e "s/@PASSWORD@/$(random)/" -e "s|@KEY@|$(private_key)|" tests/demo/connect.yaml >"$run/connect.yaml"
"$connect_dev" --state "$run/connect.yaml" --listen 127.0.0.1:0 --admin 127.0.0.1:0 --exit-with-stdin \
  <"$run/lifeline" {lifeline}>&- >"$run/connect.json" 2>"$run/connect.log" &
servers+=($!)
ready=$(announcement "$run/connect.json" $!)
url=$(field url <<<"$ready")
admin=$(field admin <<<"$ready")
say "$url"

title 'Installing'
show kubectl apply -f crds/
show kubectl wait --for=condition=Established -f crds/
eventually 'the new kinds to be served' 30 kubectl get connectservers,credentialpolicies,credentialrequests -A
show kubectl apply -f deploy/install.yaml
say 'There is no node for the pod of the Deployment: the same program is started beside the control plane instead.'

title 'Giving the operator a Connect token, and saying which host it may be sent to'
printf '%s' "$token" >"$run/token"
typed kubectl -n portcullis create secret generic connect-token --from-file=token=./token
kubectl -n portcullis create secret generic connect-token --from-file=token="$run/token" | sed 's/^/  /'
show kubectl -n portcullis label secret connect-token portcullis.dev/purpose=connect-token
show kubectl -n portcullis annotate secret connect-token "portcullis.dev/allowed-hosts=$url"

title 'Starting the operator, as the ServiceAccount portcullis with its rights alone'
typed kubectl -n portcullis create token portcullis
(
  umask 077
  kubectl config view --raw -o 'go-template={{with (index .clusters 0).cluster -}}
apiVersion: v1
kind: Config
clusters: [{name: demo, cluster: {server: "{{.server}}", certificate-authority-data: "{{index . "certificate-authority-data"}}"}}]
contexts: [{name: demo, context: {cluster: demo, user: portcullis, namespace: portcullis}}]
current-context: demo
{{end}}' >"$run/operator.kubeconfig"
  printf 'users: [{name: portcullis, user: {token: "%s"}}]\n' \
    "$(kubectl -n portcullis create token portcullis --duration=12h)" >>"$run/operator.kubeconfig"
)
# A port that nobody listens on, now.
listen=''
until [[ -n $listen ]]; do
  port=$((20000 + RANDOM % 12000))
  (exec 3<>"/dev/tcp/127.0.0.1/$port") 2>/dev/null || listen=127.0.0.1:$port
done
typed "portcullis run --listen $listen >audit.jsonl 2>operator.log"
(
  # Like the other servers, it ends with its standard input.
  trap '' INT
  NO_COLOR=1 KUBECONFIG=$run/operator.kubeconfig "$portcullis" run --listen "$listen" --log-format text \
    </dev/null >"$run/audit.jsonl" 2>"$run/operator.log" &
  operator=$!
  read -r _ || true
  kill "$operator" 2>/dev/null || true
  wait "$operator" || true
) <"$run/lifeline" {lifeline}>&- &
servers+=($!)

# --- What one sees ---------------------------------------------------------------------------------------------------

title 'A ConnectServer, a team with its namespace, a policy and requests: deploy/examples/'
mkdir "$run/examples"
cp deploy/examples/*.yaml "$run/examples/"
# The demo's own Connect server, and a poll each second instead of each 30.
sed -i -e "s|^  - url: .*|  - url: $url|" -e 's|^spec:$|&\n  pollInterval: 1s|' "$run/examples/connect-server.yaml"
grep -q "url: $url" "$run/examples/connect-server.yaml" || fail 'deploy/examples/connect-server.yaml has no hosts to replace'
typed kubectl apply -f deploy/examples/
kubectl apply -f "$run/examples/" | sed 's/^/  /'
kubectl wait --for=condition=Ready --timeout=20s connectserver/default >/dev/null
kubectl -n shop wait --for=condition=Ready --timeout=20s credreq/orders-db >/dev/null
kubectl -n shop wait --for=condition=Stalled --timeout=20s credreq/orders-root >/dev/null
show kubectl get credreq -n shop

title 'The allowed request has its Secret, with these keys'
show kubectl get secret orders-db -n shop -o 'go-template={{range $key, $_ := .data}}{{println $key}}{{end}}'

title 'The denied request has none, and says why'
show kubectl get credreq orders-root -n shop -o 'jsonpath={.status.conditions[?(@.type=="Ready")].message}'
printf '\n'
typed kubectl get secret orders-root -n shop
if kubectl get secret orders-root -n shop >"$run/missing" 2>&1; then fail 'there is a Secret'; fi
sed 's/^/  /' "$run/missing"

# Every version of the password as the API server announces it. It is compared and never shown.
exec {versions}< <(exec {lifeline}>&- && exec kubectl get secret orders-db -n shop --watch \
  -o 'go-template={{println .data.password}}' 2>/dev/null)
watcher=$!
await_password() { # base64
  local seen='' deadline=$((SECONDS + 20))
  until [[ $seen == "$1" ]]; do
    if ((SECONDS > deadline)) || ! read -r -t 20 seen <&"$versions"; then fail 'the Secret did not follow'; fi
  done
}
read -r -t 20 _ <&"$versions" || fail 'the Secret cannot be watched'

title 'The password is changed in 1Password; the Secret follows'
new=$(random)
wanted=$(printf '%s' "$new" | base64)
typed "curl -X PUT --data '<a new password>' $admin/items/services/orders-db/fields/password"
from=$(now_us)
call PUT "$admin" /items/services/orders-db/fields/password "$new"
await_password "$wanted"
say "followed after $((($(now_us) - from) / 1000)) ms, of which the wait for the next poll is the most (pollInterval: 1s)"

title 'Somebody edits the Secret by hand; it is repaired'
edited=$(printf 'edited by hand' | base64)
edit='{"stringData": {"password": "edited by hand"}}'
typed kubectl patch secret orders-db -n shop -p "'$edit'"
# Beside the watch: once kubectl has ended, the repair is mostly past.
(exec {lifeline}>&- && exec kubectl patch secret orders-db -n shop -p "$edit" >"$run/edited" 2>&1) &
editing=$!
await_password "$edited"
from=$(now_us)
await_password "$wanted"
took=$((($(now_us) - from) / 1000))
wait "$editing" || fail 'the Secret could not be edited'
sed 's/^/  /' "$run/edited"
say "repaired after $took ms, from the edit's arrival in a watch to the repair's"

title '1Password goes away, and somebody deletes the Secret: it is made again of what is kept'
typed "curl -H 'content-type: application/json' -d '{\"kind\":\"drop\"}' $admin/faults"
call POST "$admin" /faults '{"kind":"drop"}'
kubectl wait --for=condition=Ready=False --timeout=20s connectserver/default >/dev/null
show kubectl delete secret orders-db -n shop
kubectl -n shop wait --for='jsonpath={.status.sync.source}=Cache' --timeout=20s credreq/orders-db >/dev/null
show kubectl get credreq orders-db -n shop
typed "curl -X DELETE $admin/faults"
call DELETE "$admin" /faults ''
kubectl -n shop wait --for='jsonpath={.status.sync.source}=Connect' --timeout=20s credreq/orders-db >/dev/null
show kubectl get credreq orders-db -n shop

title 'Two lines of the audit stream: the denial, and a change of the Secret'
for line in '"kind":"decision".*"outcome":"Denied"' '"kind":"write"'; do
  typed "grep -m1 '$line' audit.jsonl"
  grep -m1 "$line" "$run/audit.jsonl" | sed 's/^/  /'
done

title "Done after $((SECONDS - begun)) s"
if [[ ${KEEP:-} == 1 ]]; then
  cat <<HELP
  Everything is still up, until Ctrl-C. In another terminal:

    export KUBECONFIG=$KUBECONFIG
    export PATH=${PATH%%:*}:\$PATH
    kubectl get portcullis -A
    kubectl describe credreq orders-root -n shop
    curl -X PUT --data 'another password' $admin/items/services/orders-db/fields/password
    curl http://$listen/metrics
    tail -f $run/audit.jsonl $run/operator.log
HELP
  trap 'printf "\n"; exit 0' INT
  while read -r _; do :; done
else
  say 'KEEP=1 leaves it all up to look around: make demo KEEP=1'
fi
