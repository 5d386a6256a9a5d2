#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""N hosts, each a network namespace on one bridge with a whole bloxd (API, store, raft; no cloud),
sealed, default settings; then the same with serf's LAN defaults, unsealed, where it can do the
same. Prints a JSON line a figure and, at the end, the table of bars with both beside each other.

    python3 tests/bench/gossip_bench.py           64 hosts, every phase
    BLOX_SHORT=1 BLOX_HOSTS=16 python3 ...        a few minutes less, to see whether it runs
    BLOX_PHASES=rest,bursts python3 ...           some phases only (they follow a mass start)
    BLOX_LOSS_SECONDS=3600 ...                    row 3 for an hour instead of ten minutes"""
import os
import shutil
import signal
import sys
import time

from figures import cpu_ns, percentile, pss_mib, put  # makes the harness known to the next ones
import serf_hosts
from gossip_hosts import Hosts, events, members_failed, name_of
from netns import Net, skip_unless_possible

HOSTS = int(os.environ.get("BLOX_HOSTS", "64"))
SHORT = os.environ.get("BLOX_SHORT", "") != ""
REST = 20 if SHORT else 60
TIMES = 3 if SHORT else 8  # each host's end is another sample of HOSTS - 1
PARTED = 15 if SHORT else 45
LOSSY = int(os.environ.get("BLOX_LOSS_SECONDS", "10" if SHORT else "600"))
STARVED = 20 if SHORT else 60
SUSTAINED = 5 if SHORT else 20

table = []  # (row, what, bloxd, serf, bar)


def note(row, what, figure, bar, who="bloxd"):
    put("gossip", what, figure, "", row=row, who=who, hosts=HOSTS, bar=bar)
    for line in table:
        if line[0] == row and line[1] == what:
            line[2 if who == "bloxd" else 3] = figure
            return
    table.append([row, what, figure if who == "bloxd" else "", figure if who == "serf" else "",
                  bar])


def spread(values, unit="ms"):
    cut = [f"p50 {percentile(values, 50):.3g}"]
    if len(values) >= 100:
        cut.append(f"p99 {percentile(values, 99):.3g}")
    return ", ".join(cut + [f"last {max(values):.3g} {unit}"])


# ---- phases: (hosts) of either kind, or of bloxd alone -----------------------------------------

def rest(h):
    """Rows 10, 11, 12. Bytes are IP packets as the bridge saw them."""
    time.sleep(5 if SHORT else 30)
    pids = h.pids()
    cpu, sent, at = [cpu_ns(p) for p in pids], h.sent(), time.monotonic()
    time.sleep(REST)
    over = time.monotonic() - at
    rates = [(b - a) / over for a, b in zip(sent, h.sent())]
    used = [(cpu_ns(p) - c) / 1e7 / over for p, c in zip(pids, cpu)]
    note(10, "sent at rest", f"p50 {percentile(rates, 50):.0f}, mean {sum(rates) / len(rates):.0f}"
         f", greatest {max(rates):.0f} B/s", "400 B/s", h.who)
    note(11, "CPU at rest", f"p50 {percentile(used, 50):.3f}, mean {sum(used) / len(used):.3f} %",
         "0.03 %", h.who)
    note(12, "memory (PSS)", spread([pss_mib(p) for p in pids], "MiB"), "4 MiB", h.who)


def record(h):
    note(6, "one record to all", spread(h.spread(3 if SHORT else 20)), "p99 20, last 50 ms", h.who)


def bursts(h):
    for count, size, bar in ((200, 200, "0.3 s"), (1000, 250, "1 s")):
        ms, sent = h.burst(count, size)
        note(8, f"{count} x {size} B to all", f"{ms:.0f} ms", bar, h.who)
        note(8, f"{count} x {size} B, sent", f"mean {sum(sent) / len(sent):.2f}, "
             f"greatest {max(sent):.2f} x the payload", "1.3 x", h.who)


def sustained(h):
    """Row 9 at this size: 1,000 records of 250 B a second."""
    took, sent, waiting = h.sustained(1000, 250, SUSTAINED)
    note(9, f"1,000 x 250 B a second for {SUSTAINED} s, to all", spread(took), "p99 1 s at 5,000")
    note(9, "the same: sent, mean / greatest; most records waiting",
         f"{sum(sent) / len(sent) * 8e-6:.2f} / {max(sent) * 8e-6:.2f} Mbit/s; {waiting}",
         "5 Mbit/s")


def vanish(h):
    took = [ms for i in range(TIMES) for ms in h.vanish(3 + i)]
    note(1, "host vanishes: all others know", spread(took), "p50 1, p99 1.5 s", h.who)


def kill(h):
    took = [ms for i in range(TIMES) for ms in h.kill(3 + TIMES + i)]
    note(2, "kill -9: all others know", spread(took), "p99 300 ms", h.who)


def newcomer(h):
    seen, sees = h.newcomer()
    note(14, "newcomer: all see it / it sees all", f"{seen:.0f} / {sees:.0f} ms", "50 / 50 ms",
         h.who)


def partition(h):
    contact, whole = h.partition(PARTED)
    note(15, f"{PARTED} s of partition end: first contact / whole",
         f"{contact:.0f} / {whole:.0f} ms", "300 / 2,000 ms", h.who)


def pauses(h):
    """Row 4: an eighth of the hosts stopped in turns."""
    at, step = time.time(), max(1, HOSTS // 8)
    stopped = set()
    for turn in range(2 if SHORT else 4):
        group = h.agents[turn * step:(turn + 1) * step]
        stopped |= {name_of(a) for a in group}
        for a in group:
            a.process.send(signal.SIGSTOP)
        time.sleep(5 if SHORT else 15)
        for a in group:
            a.process.send(signal.SIGCONT)
        time.sleep(1)
    h.wait_whole()
    failed = members_failed(h.agents, at)
    note(4, "N/8 stopped in turns: healthy ones failed", str(sum(m not in stopped for m in failed)),
         "0")
    note(5, "the same: events of failure about the stopped", str(sum(m in stopped for m in failed)),
         "a tenth of serf's 3,707")


def starved(h):
    """Rows 4 and 5: a quarter of the hosts has 5 ms of a processor a second."""
    at, group = time.time(), h.agents[::4]
    names = {name_of(a) for a in group}
    h.starve(group, STARVED)
    end = time.time()
    h.wait_whole()
    failed = members_failed(h.agents, at)
    degraded = {m for a in h.agents for t, _, m in events(a, {"member_degraded"}, at) if t < end}
    note(4, f"N/4 with 5 ms a second for {STARVED} s: healthy ones failed",
         str(sum(m not in names for m in failed)), "0")
    note(5, "the same: events of failure about the starved; shown as degraded",
         f"{sum(m in names for m in failed)}; {len(names & degraded)} of {len(names)}",
         "a tenth of serf's 3,707")


def loss(h):
    """Rows 7 and 3, as far as minutes show: 5 % of what arrives at each host is lost."""
    at = time.time()
    ways = {h.net.lose(host, 5) for host in h.hosts()}
    took = h.spread(3 if SHORT else 20)
    time.sleep(LOSSY)
    note(7, f"one record to all, 5 % loss ({'/'.join(sorted(ways)) or 'none'})", spread(took),
         "last 500 ms at 5,000")
    note(3, f"5 % loss for {LOSSY} s: members held to be failed", str(len(members_failed(h.agents, at))), "0")
    for host in h.hosts():
        h.net.lose(host, 0)


def rotate(h):
    """Row 18: a new key for all while probes go on; refused packets are dropped ones."""
    before, at = h.refused(), time.time()
    key = h.rotate_key()
    time.sleep(3)
    lost = h.refused() - before
    wrong = h.count_events({"member_suspect", "member_degraded", "member_failed"}, at)
    note(18, "key rotation: packets refused / members suspected", f"{lost} / {wrong}", "0 / 0")
    print(f"sealing with {key}", file=sys.stderr)


def restart(h):
    """Row 16: all are killed and started, twice within 10 s."""
    note(16, "all restarted twice in 10 s: every view right", f"{h.restart_twice():.0f} ms",
         "5,000 ms")


BOTH = (rest, record, newcomer, partition, kill, vanish)
PHASES = (rest, record, bursts, sustained, newcomer, rotate, pauses, starved, loss, partition, kill,
          vanish, restart)


def lossy_start(h):
    """Row 13 with 5 % of what arrives at each host lost: on hosts that have never run."""
    ways = {h.net.lose(host, 5) for host in h.hosts()}
    note(13, f"the same, 5 % loss ({'/'.join(sorted(ways)) or 'none'})", f"{h.mass_start():.0f} ms",
         "1,000 ms", h.who)


def is_wanted(phase):
    wanted = os.environ.get("BLOX_PHASES", "")
    return not wanted or phase.__name__ in wanted.split(",")


def run(h, phases):
    note(13, "mass start: all see all after the last start", f"{h.mass_start():.0f} ms", "500 ms",
         h.who)
    for phase in phases:
        if is_wanted(phase):
            phase(h)


def print_table():
    print(f"\n| # | {HOSTS} hosts | bloxd | serf | bar |\n|---|---|---|---|---|")
    for line in sorted(table, key=lambda each: each[0]):
        print("| " + " | ".join(str(cell) for cell in line) + " |")


def main():
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # and with it the agents
    skip_unless_possible()
    names = [f"a{i + 1}" for i in range(HOSTS + 1)]  # the last one is the newcomer
    kinds = [(Hosts, PHASES)] + [(serf_hosts.Hosts, BOTH)] * (shutil.which("serf") is not None)
    try:
        for kind, phases in kinds:
            with Net(names) as net, kind(net, HOSTS) as h:
                run(h, phases)
            if is_wanted(lossy_start):
                with Net(names) as net, kind(net, HOSTS) as h:
                    lossy_start(h)
        if len(kinds) == 1:
            print("serf is not installed: no figures beside bloxd's", file=sys.stderr)
    finally:
        print_table()
    return 0


sys.exit(main())
