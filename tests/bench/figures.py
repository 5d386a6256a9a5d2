# SPDX-License-Identifier: Apache-2.0
"""What the benchmarks share: the harness of the cluster tests, percentiles, one JSON line a
figure."""
import ctypes
import json
import os
import struct
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "../cluster"))


SYS_SCHED_SETATTR = {"x86_64": 314, "aarch64": 274}


def put(bench, figure, value, unit, **conditions):
    if isinstance(value, float):
        value = float(f"{value:.4g}")
    print(json.dumps({"bench": bench, "figure": figure, "value": value, "unit": unit,
                      **conditions}), flush=True)


def percentile(values, p):
    """Nearest rank."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, max(0, -(-len(ordered) * p // 100) - 1))]


def put_spread(bench, figure, values, unit, **conditions):
    for name, p in (("p50", 50), ("p99", 99), ("max", 100)):
        if p == 99 and len(values) < 100:
            continue  # it would be the greatest
        put(bench, f"{figure}_{name}", float(percentile(values, p)), unit, samples=len(values),
            **conditions)


def cpu_seconds(pid):
    with open(f"/proc/{pid}/stat", encoding="ascii") as f:
        fields = f.read().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def cpu_ns(pid):
    """Time on a processor of all threads, to the nanosecond."""
    total = 0
    for thread in os.listdir(f"/proc/{pid}/task"):
        with open(f"/proc/{pid}/task/{thread}/schedstat", encoding="ascii") as f:
            total += int(f.read().split()[0])
    return total


def short_turns():
    """For a process that measures how soon it is answered on a busy machine: what bloxd's own
    threads ask for (agent/base/sched.c), or the figure is the time until the kernel runs it."""
    attr = struct.pack("<IIQiIQQQ", 48, 0, 0, 0, 0, 100000, 0, 0)
    ctypes.CDLL(None).syscall(SYS_SCHED_SETATTR[os.uname().machine], 0, attr, 0)


def pss_mib(pid):
    with open(f"/proc/{pid}/smaps_rollup", encoding="ascii") as f:
        return next(int(line.split()[1]) for line in f if line.startswith("Pss:")) / 1024
