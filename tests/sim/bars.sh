#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# The bars of docs/benchmarks.md in simulation at full size: bars.sh [NAME...], one after the other,
# each with its command and what it took; fails where one missed its bar. All take some hours of one
# core and up to 12 GB. BLOX_SEED: 1.
set -uo pipefail
cd "$(dirname "$0")/../.." || exit
bin=${BLOX_BIN:-build/release/bin}
seed=${BLOX_SEED:-1}
failed=0
# Large pages: a step looks at one member of thousands, each elsewhere in memory.
export GLIBC_TUNABLES=glibc.malloc.hugetlb=1
export TIMEFORMAT='  %U s of CPU, %R s'

bar() { # NAME PROGRAM ARGUMENT...
  local name=$1; shift
  [ "$wanted" = all ] || [[ " $wanted " == *" $name "* ]] || return 0
  echo "$name: $* --seed $seed"
  time "$bin/$1" "${@:2}" --seed "$seed" || { failed=1; echo "  MISSED"; }
}

wanted=${*:-all}
links=(--latency-us 1000 --jitter-us 200)
bar detect swim_sim detect --nodes 5000 --victims 200 --every 0.5             # 1
bar quiet swim_sim quiet --nodes 5000 --for 86400 --loss 0.05                 # 3
bar pause swim_sim pause --nodes 5000 --for 200                               # 4, 5
bar starve swim_sim starve --nodes 5000 --for 60                              # 4, 5
bar record records_sim --nodes 5000 --records 1 "${links[@]}" --within-ms 150 # 6
bar lossy records_sim --nodes 5000 --records 20 --interval-us 50000 --loss 0.05 "${links[@]}" \
  --within-ms 500                                                             # 7
bar sustained records_sim --nodes 5000 --records 10000 --interval-us 1000 "${links[@]}"       # 9
for n in 16 64 500 5000; do
  bar rest swim_sim quiet --nodes $n --for 60                                 # 10
  bar rest records_sim --nodes $n --records 0 --duration-us 120000000 "${links[@]}" # 10, 17
done
bar start swim_sim start --nodes 64 --every 0.1                               # 13
bar start swim_sim start --nodes 64 --every 0.1 --loss 0.05                   # 13
bar start swim_sim start --nodes 5000 --every 10                              # 13
bar heal swim_sim heal --nodes 64 --for 45                                    # 15
bar heal swim_sim heal --nodes 1000 --for 3600                                # 15
bar heal swim_sim heal --nodes 5000 --for 3600                                # 15
bar restart swim_sim restart --nodes 5000                                     # 16
bar huge swim_sim detect --nodes 100000 --victims 5 --every 0.5               # 19
bar huge swim_sim quiet --nodes 100000 --for 30                               # 19
bar huge records_sim --nodes 100000 --records 1 --duration-us 3000000 "${links[@]}" # 19
exit "$failed"
