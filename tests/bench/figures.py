# SPDX-License-Identifier: Apache-2.0
"""What the benchmarks share: the harness of the cluster tests, percentiles, one JSON line a
figure."""
import json
import os
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "../cluster"))


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


def own_turns():
    """For a process that measures how soon it is answered on a busy machine: it runs at once when it
    is answered, or the figure would be the time until the kernel's fairness lets it (a client that
    has just sent has used its share: on one core with a writer at work that is 1.5 ms)."""
    try:
        os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(1))
    except PermissionError:
        print("not privileged: the reader's own waits for the processor count", file=sys.stderr)


def pss_mib(pid):
    with open(f"/proc/{pid}/smaps_rollup", encoding="ascii") as f:
        return next(int(line.split()[1]) for line in f if line.startswith("Pss:")) / 1024
