#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# What ./run demo shows: three agents on a local cloud, a daemon that reaches every instance and
# follows a new one. BLOX_DEMO_END=1 ends it after the show (for tests).
set -euo pipefail
cd "$(dirname "$0")/../.."
BIN=${BLOX_BIN:-build/release/bin}
export BLOX_ADDR=http://127.0.0.1:${BLOX_DEMO_PORT:-7380}
DIR=$(mktemp -d /tmp/blox-demo-XXXXXX)
pid=

finish() {
  trap - EXIT INT TERM
  echo
  echo "Ending the demo."
  if [ -n "$pid" ]; then kill -TERM "$pid" 2>/dev/null || true; wait "$pid" 2>/dev/null || true; fi
  rm -rf "$DIR"
  exit "${1:-0}"
}
trap 'finish 0' INT TERM
trap 'finish 1' EXIT

step() { printf '\n\033[1m%s\033[0m\n' "$*"; }
show() { # again while no leader is known, which the command ends with 5 for
  printf '\033[2m$ blox %s\033[0m\n' "$*"
  local tries=0 code=0
  "$BIN/blox" "$@" || code=$?
  while [ $code = 5 ] && [ $((tries += 1)) -lt 5 ]; do code=0; "$BIN/blox" "$@" || code=$?; done
  return $code
}
control() { curl -sSf --noproxy '*' -X POST -H 'Content-Type: application/json' -d "$2" "$cloud/_control/$1" >/dev/null; }
until_true() { # SECONDS COMMAND...
  local end=$((SECONDS + $1)); shift
  until "$@" 2>/dev/null; do
    [ $SECONDS -lt $end ] || { echo "waited in vain: $*; logs are in $DIR" >&2; return 1; }
    kill -0 "$pid" 2>/dev/null || { cat "$DIR/out"; return 1; }
    sleep 0.2
  done
}
running() { "$BIN/blox" -o json get tasks --environment logs | jq '[.items[] | select(.lastStatus == "RUNNING")] | length'; }
have_running() { [ "$(running)" = "$1" ]; }
ready() { grep -q 'Ctrl-C ends it' "$DIR/out"; }

step "Three agents on a local cloud of five container instances"
mkdir "$DIR/state"
"$BIN/blox" dev --agents 3 --instances 5 --dir "$DIR/state" --api-port "${BLOX_DEMO_PORT:-7380}" >"$DIR/out" 2>&1 &
pid=$!
until_true 30 ready
cat "$DIR/out"
cloud=$(sed -n 's/^local cloud  *\([^ ]*\).*/\1/p' "$DIR/out")
show members
show get instances

step "A daemon: one task of daemon:1 on every instance"
show environment create logs --cluster dev --task-definition daemon:1
show deploy logs --wait --timeout 60
until_true 30 have_running 5
show get tasks --environment logs

step "A new instance joins the cluster: it is covered"
control add-instances '{"count":1}'
until_true 30 have_running 6
show get tasks --environment logs

step "A task dies: it is replaced"
victim=$("$BIN/blox" -o json get tasks --environment logs | jq -r '[.items[] | select(.lastStatus == "RUNNING")][0].taskArn')
control kill-task "{\"task\":\"$victim\"}"
until_true 30 "$BIN/blox" -o json get tasks "$victim" >/dev/null
sleep 1
until_true 30 have_running 6
show get tasks --environment logs

step "An instance drains: its daemon leaves"
drained=$("$BIN/blox" -o json get instances | jq -r '.items[0].containerInstanceArn')
control drain "{\"instance\":\"$drained\"}"
until_true 60 have_running 5
show get deployments
show status

step "Dashboard: $BLOX_ADDR/"
if [ "${BLOX_DEMO_END:-0}" = 1 ]; then finish 0; fi
echo "Look around with: export BLOX_ADDR=$BLOX_ADDR; $BIN/blox get tasks     Ctrl-C ends the demo."
wait "$pid" || true
finish 0
