#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Events per second from the queue into the rows of all three agents, through the local cloud,
with nothing and with 10 ms added to each AWS request. The cloud shares the machine."""
import sys
import time

from figures import cpu_seconds, put
from harness import Cluster, wait_for

INSTANCES = 500
EVENTS = 20000


def run_once(c, added_ms):
    if added_ms:
        c.cloud.control("fault", operation="*", mode="delay", ms=added_ms)
    leader = c.wait_leader()
    start = time.monotonic()
    c.cloud.control("storm", count=EVENTS)
    want = {i["containerInstanceArn"]: i["version"] for i in c.cloud.truth()["instances"]}

    def equal(agent):
        return all(want.get(r["containerInstanceArn"]) == r["version"]
                   for r in agent.items("instances"))

    # The queue, not only the newest version of each row: all messages received and deleted.
    def drained():
        s = c.cloud.stats()
        return s["queue_ready"] + s["queue_in_flight"] + s["queue_delayed"] == 0

    pids = {"cloud": c.cloud.p.pid, "leader": leader.process.p.pid}
    before = {k: cpu_seconds(p) for k, p in pids.items()}
    wait_for("the queue to be empty", 300, drained, 0.05)
    took = time.monotonic() - start
    for who, pid in pids.items():
        put("intake", f"cpu_{who}", 100 * (cpu_seconds(pid) - before[who]) / took, "% of a core",
            added_ms=added_ms, events=EVENTS)
    wait_for("equal rows at the leader", 60, lambda: equal(leader), 0.05)
    wait_for("equal rows at all", 60, lambda: all(equal(a) for a in c.agents), 0.05)
    everywhere = time.monotonic() - start
    put("intake", "events_rate", EVENTS / took, "events/s", added_ms=added_ms, events=EVENTS)
    put("intake", "rows_equal_at_all_after", everywhere, "s", added_ms=added_ms, events=EVENTS)
    c.cloud.control("clear-faults")


def main():
    args = ("--settings", '{"throttle":0,"event_duplicate":0,"event_delay_ms":0}')
    with Cluster(agents=3, instances=INSTANCES, cloud_args=args) as c:
        c.cloud.stats = lambda: c.cloud.control("stats")
        c.start().wait_ready(60)
        time.sleep(3)
        for added_ms in (0, 10):
            run_once(c, added_ms)
    return 0


sys.exit(main())
