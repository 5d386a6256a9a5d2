#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Linearizability under kills, stops, partitions and full disks for a long time: jepsen.sh [SECONDS],
# 20 minutes if not said. Partitions and disks need root and network namespaces.
set -euo pipefail
cd "$(dirname "$0")"
export BLOX_SECONDS=${1:-1200}
export BLOX_BIN=${BLOX_BIN:-$PWD/../../build/dev/bin}
exec /usr/bin/python3 linear_test.py
