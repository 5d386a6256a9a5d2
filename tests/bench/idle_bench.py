#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""What five agents cost when nothing happens, over 60 s: memory, processor time, bytes sent."""
import sys
import time

from figures import cpu_seconds, put
from harness import Cluster

SECONDS = 60


def memory(pid):
    with open(f"/proc/{pid}/smaps_rollup", encoding="ascii") as f:
        rows = {line.split(":")[0]: line.split()[1] for line in f if line.endswith("kB\n")}
    return int(rows["Rss"]) / 1024, int(rows["Pss"]) / 1024


def main():
    with Cluster(agents=5, instances=5) as c:
        c.start().wait_ready(60)
        a = c.agents[0]
        a.write("POST", "/v2/environments", {"name": "d", "cluster": c.name,
                                             "taskDefinition": "daemon:1"})
        a.write("POST", "/v2/environments/d/deployments", {})
        time.sleep(15)  # voters are added, rows settle
        pids = [a.process.p.pid for a in c.agents]
        sent = [a.get("/v2/agent")["gossip"]["bytes_sent"] for a in c.agents]
        cpu = [cpu_seconds(p) for p in pids]
        start = time.monotonic()
        time.sleep(SECONDS)
        for i, a in enumerate(c.agents):
            over = time.monotonic() - start
            used = cpu_seconds(pids[i]) - cpu[i]
            bytes_sent = a.get("/v2/agent")["gossip"]["bytes_sent"] - sent[i]
            rss, pss = memory(pids[i])
            who = "leader" if a.leading() else "follower"
            put("idle", "rss", rss, "MiB", agent=i + 1, role=who)
            put("idle", "pss", pss, "MiB", agent=i + 1, role=who)
            put("idle", "cpu", 100 * used / over, "% of a core", agent=i + 1, role=who)
            put("idle", "sent_to_agents", bytes_sent / over, "B/s", agent=i + 1, role=who)
    return 0


sys.exit(main())
