#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Benchmarks by name, in a release build: bench.sh [NAME...]. Each prints one JSON line a figure.
# docs/benchmarks.md has the tables and what the figures mean.
set -euo pipefail
cd "$(dirname "$0")/../.."
export BLOX_BIN=${BLOX_BIN:-$PWD/build/release/bin}
[ $# -gt 0 ] || set -- store api idle intake intent failover voters gossip memory many
for name in "$@"; do
  case "$name" in
    store)
      dir=$(mktemp -d)
      "$BLOX_BIN/bench_store" "$dir" || { rm -rf "$dir"; exit 1; }
      rm -rf "$dir"
      dir=$(mktemp -d)
      "$BLOX_BIN/bench_size" "$dir" tests/data/ecs-events/synthetic || { rm -rf "$dir"; exit 1; }
      rm -rf "$dir"
      ;;
    api | idle | intake | intent | failover | voters | gossip | memory | many) /usr/bin/python3 "tests/bench/${name}_bench.py" ;;
    *) echo "no benchmark '$name': store api idle intake intent failover voters gossip memory many" >&2; exit 2 ;;
  esac
done
