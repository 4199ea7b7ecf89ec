#!/usr/bin/env bash
# From a fresh Debian 12 to a message through the proxy: installs what is missing, builds, starts a
# control plane, a proxy and an echo back end, publishes an API, subscribes an application on Gold,
# gets keys and a token, and sends one message there and back. Then it stays up until Ctrl-C.
#   deploy/quickstart.sh [--check] [--no-install] [--no-build] [--reset]
# --check ends after the story, with status 0 or 1. --reset throws away the data of earlier runs.
set -euo pipefail
cd "$(dirname "$0")/.."
data=$PWD/deploy/quickstart-data
bin=$PWD/build/release/bin

check=0 install=1 build=1
for argument in "$@"; do
  case "$argument" in
    --check) check=1 ;;
    --no-install) install=0 ;;
    --no-build) build=0 ;;
    --reset) rm -rf "$data" ;;
    *) sed -n '2,8s/^# \{0,1\}//p' "$0" >&2; exit 2 ;;
  esac
done

say() { printf '\n== %s\n' "$*"; }
die() { printf 'quickstart: %s\n' "$*" >&2; exit 1; }

[ "$install" = 0 ] || deploy/install-packages.sh deploy/packages.txt deploy/quickstart-packages.txt
if [ "$build" = 1 ]; then
  say "building (some minutes the first time)"
  cmake --preset release -DSLUICE_TESTS=OFF >/dev/null
  cmake --build --preset release --target sluice-proxy sluice-control sluicectl
fi
for program in sluice-proxy sluice-control sluicectl; do
  [ -x "$bin/$program" ] || die "$bin/$program is missing; run without --no-build"
done

mkdir -p "$data"
chmod 700 "$data"
pids=()
stop() {
  for pid in "${pids[@]}"; do kill "$pid" 2>/dev/null || true; done
  for pid in "${pids[@]}"; do wait "$pid" 2>/dev/null || true; done
}
trap stop EXIT

# Starts a program whose messages go to a log; waits until it says the words given.
start() {
  local name=$1 words=$2
  shift 2
  "$@" >"$data/$name.out" 2>"$data/$name.log" &
  pids+=($!)
  local pid=$!
  for _ in $(seq 300); do
    grep -q "$words" "$data/$name.log" && return 0
    kill -0 "$pid" 2>/dev/null || { tail -n 5 "$data/$name.log" >&2; die "$name ended; see $data/$name.log"; }
    sleep 0.1
  done
  die "$name did not come up within 30 s; see $data/$name.log"
}

say "starting the echo back end, the control plane and a proxy"
[ -f "$data/password" ] || (umask 077; head -c 18 /dev/urandom | base64 >"$data/password")
start echo "listening echo" /usr/bin/python3 deploy/samples/echo_server.py --port 9100
SLUICE_ADMIN_PASSWORD=$(cat "$data/password") start control "listening grpc" \
  "$bin/sluice-control" --data-dir "$data/control"
export SLUICE_SESSION=$data/session.json
ctl() { "$bin/sluicectl" "$@"; }
ctl login --ca "$data/control/tls/ca.pem" --password-stdin <"$data/password"
joining=()
if [ ! -d "$data/proxy/tls" ]; then
  (umask 077; ctl join-token create >"$data/join-token")
  joining=(--join-token-file "$data/join-token")
fi
start proxy "configuration in force" \
  "$bin/sluice-proxy" --control 127.0.0.1:9444 --node-id quickstart --data-dir "$data/proxy" \
  --access-log "$data/access.log" "${joining[@]}"

say "publishing EchoWebsocket, subscribing an application on Gold"
ctl apply -f deploy/samples/quickstart.yaml --wait
if [ ! -f "$data/keys.json" ]; then
  (umask 077; ctl --output json keys generate quickstart-app --type production >"$data/keys.json")
fi
field() { sed -n "s/.*\"$1\":\"\([^\"]*\)\".*/\1/p" "$data/keys.json"; }
(umask 077; field consumerSecret | ctl token --key "$(field consumerKey)" --secret - >"$data/token")
token=$(cat "$data/token")
url=ws://127.0.0.1:9099/echowebsocket/v1.0

say "sending one message through the proxy"
answer=$(echo "Hello WebSocket World" | ctl ws "$url" --token "@$data/token")
[ "$answer" = "Hello WebSocket World" ] || die "the echo was: $answer"
echo "sent and received: $answer"

mkdir -p "$data/samples"
for sample in browser.html client.mjs client.py; do
  sed -e "s|SLUICE_URL|$url|" -e "s|SLUICE_TOKEN|$token|" "deploy/samples/$sample" >"$data/samples/$sample"
done

cat <<END

== it works
URL      $url      (TLS: wss://localhost:8099/echowebsocket/v1.0, CA $data/control/tls/ca.pem)
token    $token
try      export SLUICE_SESSION=$SLUICE_SESSION PATH=\$PATH:$bin
         sluicectl ws $url --token @$data/token
         open $data/samples/browser.html in a browser; node $data/samples/client.mjs; python3 $data/samples/client.py
         sluicectl usage; sluicectl connections list; sluicectl proxies list
revoke   sluicectl token revoke @$data/token      (open connections close within a second)
logs     $data/*.log, access log $data/access.log
END
[ "$check" = 0 ] || exit 0
echo "up until Ctrl-C"
wait -n "${pids[@]}" || true
die "a program ended; see $data/*.log"
