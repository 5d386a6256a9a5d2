#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Seeds one fault at a time into the raft core (-DMUT=n, see MUTANT() in gossip/raft_int.h) and
# shows that the simulator or a directed test finds it. Prints the score; fails if one survives
# that is not listed as equivalent below.
#   tests/sim/mutate.sh [first last]
set -eu
cd "$(dirname "$0")/../.."
first=${1:-1}
last=${2:-20}
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
core="gossip/raft.c gossip/raft_log.c gossip/raft_lead.c gossip/raft_follow.c gossip/raft_wire.c
    agent/base/prng.c agent/base/buf.c agent/base/hash.c agent/base/clock.c"
world="tests/sim/raft_world.c tests/sim/raft_check.c"
flags="-std=c17 -D_GNU_SOURCE -I. -O2 -w"
# Numbers of mutants that change nothing, each with its argument.
equivalent=" "
killed=0
alive=""
n=$first
while [ "$n" -le "$last" ]; do
    # shellcheck disable=SC2086
    cc $flags -DMUT="$n" tests/sim/raft_sim.c $world $core -o "$dir/sim"
    # shellcheck disable=SC2086
    cc $flags -DMUT="$n" -Itests tests/unit/raft/directed_test.c $world $core \
        -lcriterion -o "$dir/directed"
    by=""
    timeout 60 "$dir/directed" >/dev/null 2>&1 || by="directed"
    timeout 50 "$dir/sim" --seeds 20000 --seconds 20 >"$dir/out" 2>&1 || by="$by simulator"
    if [ -n "$by" ]; then
        killed=$((killed + 1))
        echo "mutant $n: killed by $by ($(head -n 1 "$dir/out" | cut -c 1-70))"
    else
        echo "mutant $n: SURVIVED"
        case "$equivalent" in *" $n "*) ;; *) alive="$alive $n" ;; esac
    fi
    n=$((n + 1))
done
echo "$killed of $((last - first + 1)) killed; not killed and not known to be equivalent:${alive:- none}"
[ -z "$alive" ]
