#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Linearizability under kills, stops, partitions and full disks for a long time: jepsen.sh [SECONDS],
# 20 minutes if not said. Partitions and disks need root and network namespaces.
set -euo pipefail
cd "$(dirname "$0")"
export BLOX_SECONDS=${1:-1200}
export BLOX_BIN=${BLOX_BIN:-$PWD/../../build/dev/bin}
[ "$(id -u)" = 0 ] && unshare -n true 2>/dev/null && export BLOX_FAULTS=${BLOX_FAULTS:-kill,stop,part,disk}
exec /usr/bin/python3 linear_test.py
