#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# The simulators with many seeds, one process per core: sim.sh [SEEDS]. Prints what each did; fails
# on any violation (the seed is in its output; --seed S --trace tells the story).
set -euo pipefail
cd "$(dirname "$0")/../.."
seeds=${1:-10000}
first=${BLOX_SIM_FIRST:-1}
bin=${BLOX_BIN:-build/release/bin}
cores=$(nproc)
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT

started=$(date +%s)
pids=()
share=$(((seeds + cores - 1) / cores))
for ((i = 0; i < cores; i++)); do
  "$bin/raft_sim" --seeds "$share" --first $((first + i * share)) --seconds 86400 \
    >"$dir/raft.$i" 2>&1 &
  pids+=($!)
done
failed=0
for ((i = 0; i < cores; i++)); do
  wait "${pids[$i]}" || failed=1
  echo "raft, seeds $((first + i * share)) to $((first + (i + 1) * share - 1)):"
  tail -n 20 "$dir/raft.$i" | sed 's/^/  /'
done

# Membership.
pids=()
share=$(((seeds + cores - 1) / cores))
for ((i = 0; i < cores; i++)); do
  "$bin/swim_sim" --seeds "$share" --first $((first + i * share)) >"$dir/swim.$i" 2>&1 &
  pids+=($!)
done
for ((i = 0; i < cores; i++)); do
  wait "${pids[$i]}" || failed=1
  sed 's/^/  swim: /' "$dir/swim.$i"
done

# Whole agents; a process of its own for each seed.
echo "agents, seeds $first to $((first + seeds - 1)):"
"$bin/agents_sim" --seeds "$seeds" --first "$first" --seconds 86400 --jobs "$cores" \
  >"$dir/agents" 2>&1 || failed=1
tail -n 20 "$dir/agents" | sed 's/^/  /'

# The record cores: the bounded suite, each of its runs with other seeds.
rounds=$((seeds / 2000 > 0 ? seeds / 2000 : 1))
for ((r = 0; r < rounds; r += cores)); do
  pids=()
  for ((i = 0; i < cores && r + i < rounds; i++)); do
    "$bin/records_sim" $((first + r + i)) >"$dir/records.$i" 2>&1 &
    pids+=($!)
  done
  for ((i = 0; i < ${#pids[@]}; i++)); do
    echo "records, seed $((first + r + i)):"
    wait "${pids[$i]}" || failed=1
    sed 's/^/  /' "$dir/records.$i"
  done
done
echo "$(($(date +%s) - started)) s on $cores cores"
[ "$failed" -eq 0 ] || { echo "VIOLATIONS: see above" >&2; exit 1; }
