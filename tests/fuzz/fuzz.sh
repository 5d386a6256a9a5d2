#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Each fuzzer for so many seconds: fuzz.sh [SECONDS [NAME...]]. A crash leaves its input in
# build/fuzz/found/NAME/ and makes the script fail at its end.
set -euo pipefail
cd "$(dirname "$0")/../.."
seconds=${1:-60}
shift || true
bin=${BLOX_BIN:-build/fuzz/bin}
found=${BLOX_FUZZ_DIR:-build/fuzz/found}
if [ $# -eq 0 ]; then
  for f in "$bin"/fuzz_*; do
    name=${f##*/fuzz_}
    [ "$name" = seeds ] || set -- "$@" "$name"
  done
fi
[ $# -gt 0 ] || { echo "no fuzzers in $bin: build them with cmake --preset fuzz" >&2; exit 1; }

failed=()
printf '%-12s %12s %10s %8s %8s\n' target runs runs/s cover corpus
for name in "$@"; do
  seeds=tests/fuzz/corpus/$name
  work=$found/$name
  mkdir -p "$work/corpus" "$work/crash"
  dict=()
  [ -f "tests/fuzz/$name.dict" ] && dict=(-dict="tests/fuzz/$name.dict")
  [ -d "$seeds" ] || seeds=
  if ! "$bin/fuzz_$name" -max_total_time="$seconds" -timeout=10 -rss_limit_mb=2048 -max_len=65536 \
    -len_control=20 -print_final_stats=1 -artifact_prefix="$work/crash/" "${dict[@]}" \
    "$work/corpus" $seeds >"$work/log" 2>&1; then
    failed+=("$name")
    grep -m 3 -E 'ERROR|runtime error|SUMMARY|ensure' "$work/log" >&2 || tail -n 5 "$work/log" >&2
  fi
  runs=$(sed -n 's/^stat::number_of_executed_units: *//p' "$work/log")
  speed=$(sed -n 's/^stat::average_exec_per_sec: *//p' "$work/log")
  cover=$(grep -o 'cov: [0-9]*' "$work/log" | tail -n 1 | cut -d' ' -f2 || true)
  corpus=$(find "$work/corpus" -type f | wc -l)
  printf '%-12s %12s %10s %8s %8s\n' "$name" "${runs:--}" "${speed:--}" "${cover:--}" "$corpus"
done
[ ${#failed[@]} -eq 0 ] || { echo "failed: ${failed[*]}; inputs in $found/NAME/crash" >&2; exit 1; }
