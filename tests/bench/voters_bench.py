#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Voters come and go, in real processes: a voter is killed until another has its vote and it has none,
and the longest that a client's write took meanwhile; metadata shows that the leader's instance is
to go until another leads and three others vote. BLOX_ROUNDS (5) each, five agents; two of them are spares."""
import http.client
import os
import sys
import threading
import time

from figures import put_spread
from harness import Cluster, wait_for

ROUNDS = int(os.environ.get("BLOX_ROUNDS", "5"))


def names(agent, kind):
    return {s["id"] for s in agent.get("/v2/leader")[kind]}


def settled(c):
    leader = c.leader()
    return leader if leader and len(names(leader, "voters")) == 3 and \
        len(names(leader, "learners")) == 2 else None


def without(c, gone):
    """A leader under which three others vote and gone does not."""
    leader = c.leader()
    if not leader or leader is gone:
        return None
    voters = names(leader, "voters")
    return leader if gone.name not in voters and len(voters) == 3 else None


class Writer(threading.Thread):
    """One write after the other, at any agent that lives; the longest time between two answers."""

    def __init__(self, c):
        super().__init__(daemon=True)
        self.c, self.over, self.longest = c, False, 0.0
        self.start()

    def run(self):
        n, last = 0, time.monotonic()
        while not self.over:
            n += 1
            for a in self.c.agents:
                try:
                    if a.alive() and a.request("PUT", "/v2/environments/e", {
                            "expression": f"attribute:ecs.os-type == w{n}"})[0] == 200:
                        self.longest = max(self.longest, time.monotonic() - last)
                        last = time.monotonic()
                        break
                except (OSError, http.client.HTTPException):
                    pass
            time.sleep(0.01)


def replace_dead(c, took, gaps):
    leader = wait_for("3 voters and 2 spares", 60, lambda: settled(c), 0.1)
    time.sleep(10)
    victim = next(a for a in c.agents if a is not leader and a.name in names(leader, "voters"))
    writer = Writer(c)
    start = time.monotonic()
    victim.kill()
    wait_for("another voter", 60, lambda: without(c, victim), 0.02)
    took.append((time.monotonic() - start) * 1000)
    writer.over = True
    writer.join()
    gaps.append(writer.longest * 1000)
    victim.start()


def notice(c, took):
    leader = wait_for("3 voters and 2 spares", 60, lambda: settled(c), 0.1)
    arn = c.instance_of(leader.number)["arn"]
    start = time.monotonic()
    c.cloud.control("lifecycle-state", instance=arn, state="Terminated")
    wait_for("the vote handed on", 15, lambda: without(c, leader), 0.01)
    took.append((time.monotonic() - start) * 1000)
    c.cloud.control("lifecycle-state", instance=arn, state="InService")
    wait_for("the notice taken back", 15, lambda: "notice" not in leader.get("/v2/agent"), 0.1)


def main():
    dead, gaps, notices = [], [], []
    with Cluster(agents=5, instances=5) as c:
        c.start().wait_ready(60)
        for a in c.agents:
            a.name = a.get("/v2/agent")["id"]
        c.wait_leader().write("POST", "/v2/environments", {
            "name": "e", "cluster": c.name, "taskDefinition": "daemon:1"})
        for _ in range(ROUNDS):
            notice(c, notices)
        for _ in range(ROUNDS):
            replace_dead(c, dead, gaps)
    put_spread("voters", "notice_to_full_strength", notices, "ms")
    put_spread("voters", "death_to_replacement", dead, "ms")
    put_spread("voters", "longest_write_gap", gaps, "ms")
    return 0


sys.exit(main())
