#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""N whole bloxd processes on one machine's loopback, default gossip settings, sealed: mass start,
one newcomer, kill -9, pauses, spread of records, and what an agent at rest costs.

    BLOX_BIN=build/release/bin BLOX_HOSTS=64 python3 tests/bench/gossip_scale_bench.py

BLOX_REST: seconds of rest that are measured (60). BLOX_KILLS (3), BLOX_RECORDS (20): repetitions."""
import datetime
import os
import signal
import time

from figures import cpu_seconds, put, put_spread
from harness import Agent, Cluster, wait_for

HOSTS = int(os.environ.get("BLOX_HOSTS", "64"))
REST = float(os.environ.get("BLOX_REST", "60"))
KILLS = int(os.environ.get("BLOX_KILLS", "3"))
RECORDS = int(os.environ.get("BLOX_RECORDS", "20"))


def when(line):
    return datetime.datetime.fromisoformat(line["time"].replace("Z", "+00:00")).timestamp()


def events(agent, names, since=0.0):
    return [(when(line), line["event"], line["member"]) for line in agent.log_lines()
            if line.get("event") in names and when(line) >= since]


def name_of(agent):
    return f"test-agent-{agent.number}"


def sees(agent, count):
    return agent.get("/v2/agent").get("gossip", {}).get("alive") == count


def wait_whole(agents, seconds=60):
    wait_for("all to see all", seconds, lambda: all(sees(a, len(agents)) for a in agents), 0.5)


def last_of(agent, names):
    """When the agent first held the last of these members to be alive; it logs itself, too."""
    first = {}
    for t, _, member in events(agent, {"member_alive"}):
        first.setdefault(member, t)
    return max(first[name] for name in names)


def mass_start(c):
    for a in c.agents:
        a.start()
    last = time.time()
    wait_whole(c.agents)
    done = [last_of(a, {name_of(b) for b in c.agents}) for a in c.agents]
    put("gossip_scale", "mass_start_after_last_start", max(0.0, (max(done) - last) * 1000), "ms",
        hosts=HOSTS)


def newcomer(c):
    a = Agent(c, len(c.agents) + 1)
    old = list(c.agents)
    c.agents.append(a)
    a.start()
    wait_whole(c.agents)
    first = min(t for t, e, m in events(a, {"member_alive"}))
    seen = [min(t for t, e, m in events(b, {"member_alive"}) if m == name_of(a)) for b in old]
    start = min([first] + seen)  # its gossip began: not the start of its process
    put("gossip_scale", "newcomer_seen_by_all", (max(seen) - start) * 1000, "ms", hosts=HOSTS)
    put("gossip_scale", "newcomer_sees_all", (last_of(a, {name_of(b) for b in old}) - start) * 1000, "ms", hosts=HOSTS)


def kills(c):
    took = []
    for _ in range(KILLS):
        victim = c.agents.pop()
        at = time.time()
        victim.kill()

        def known():
            times = [min((t for t, _, m in events(a, {"member_failed"}, at)
                          if m == name_of(victim)), default=None) for a in c.agents]
            return None if None in times else times

        times = wait_for("all to know of the killed one", 60, known, 0.5)
        took += [(t - at) * 1000 for t in times]
    put_spread("gossip_scale", "kill_9_known", took, "ms", hosts=HOSTS)


def pauses(c):
    paused = c.agents[2:2 + max(1, HOSTS // 8)]
    names = {name_of(a) for a in paused}
    at = time.time()
    for a in paused:
        a.process.send(signal.SIGSTOP)
    time.sleep(10)
    for a in paused:
        a.process.send(signal.SIGCONT)
    time.sleep(3)
    wait_whole(c.agents)
    failed = [m for a in c.agents for _, _, m in events(a, {"member_failed"}, at)]
    put("gossip_scale", "healthy_failed_while_others_paused", sum(m not in names for m in failed),
        "events", hosts=HOSTS, paused=len(paused))
    put("gossip_scale", "paused_failed", sum(m in names for m in failed), "events", hosts=HOSTS,
        paused=len(paused))


def spread(c):
    ms, last = [], []
    for i in range(RECORDS):
        out = c.agents[i % len(c.agents)].write("POST", "/v2/agent/propagate", {"bytes": 200})
        ms += [m["ms"] for m in out["members"] if m["ms"] is not None]
        last.append(out["last_ms"] if out["all"] else float("inf"))
        time.sleep(0.2)
    put_spread("gossip_scale", "one_record_reported", ms, "ms", hosts=HOSTS)
    put_spread("gossip_scale", "one_record_last", last, "ms", hosts=HOSTS)
    for count, size in ((200, 200), (1000, 250)):
        out = c.agents[0].write("POST", "/v2/agent/propagate",
                                {"count": count, "bytes": size, "timeout_ms": 20000})
        put("gossip_scale", f"burst_{count}x{size}_all", out["last_ms"], "ms", hosts=HOSTS,
            missing=len(out["missing"]))
        time.sleep(2)


def pss_kib(pid, field="Pss:"):
    with open(f"/proc/{pid}/smaps_rollup", encoding="ascii") as f:
        return next(int(line.split()[1]) for line in f if line.startswith(field))


def rest(c):
    def sample():
        return [(cpu_seconds(a.process.p.pid), a.get("/v2/agent")["gossip"]["bytes_sent"])
                for a in c.agents]
    time.sleep(5)
    before, at = sample(), time.monotonic()
    time.sleep(REST)
    after, span = sample(), time.monotonic() - at
    n = len(c.agents)
    put("gossip_scale", "rest_sent", sum(b[1] - a[1] for a, b in zip(before, after)) / n / span,
        "B/s", hosts=HOSTS, without="IP and UDP headers")
    put("gossip_scale", "rest_cpu", sum(b[0] - a[0] for a, b in zip(before, after)) / n / span
        * 100, "% of a core", hosts=HOSTS)
    put_spread("gossip_scale", "pss", [pss_kib(a.process.p.pid) / 1024 for a in c.agents], "MiB",
               hosts=HOSTS)
    put_spread("gossip_scale", "pss_anonymous",
               [pss_kib(a.process.p.pid, "Pss_Anon:") / 1024 for a in c.agents], "MiB",
               hosts=HOSTS)


def main():
    with Cluster(agents=HOSTS, cloud=False) as c:
        mass_start(c)
        rest(c)
        spread(c)
        newcomer(c)
        pauses(c)
        kills(c)


if __name__ == "__main__":
    main()
