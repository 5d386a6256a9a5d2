#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The leader's disk is full (its data directory is a small file system): another one leads within
seconds and takes writes, and a spare votes in the place of the one whose disk has no room; when it
has again, its agent follows and is taken in. Needs root; else it is skipped.

    python3 tests/cluster/full_disk_test.py"""
import contextlib
import http.client
import os
import time

import netns
from harness import Cluster, check, run, wait_for

DISK = "128m"
LARGE = "attribute:ecs.os-type == " + "x" * 1900


def fill(path):
    with contextlib.suppress(OSError), open(path, "wb", buffering=0) as f:
        while True:
            f.write(bytes(65536))


def create(c, agents, name, expression=""):
    """Whether one of them took it, now or in an attempt whose answer was lost."""
    for a in agents:
        with contextlib.suppress(OSError, http.client.HTTPException, ValueError):
            status, _, _ = a.request("POST", "/v2/environments", {
                "name": name, "cluster": c.name, "taskDefinition": "daemon:1",
                "expression": expression}, timeout=5)
            check(status != 400, "a bad request")
            if status in (201, 409):
                return True
    return False


def servers(c):
    """Ids of voters and learners, in the eyes of who leads."""
    leader = c.leader()
    if not leader:
        return set(), set()
    doc = leader.get("/v2/leader")
    return tuple({s["id"] for s in doc[kind]} for kind in ("voters", "learners"))


def test():
    netns.skip_unless_possible()
    with contextlib.ExitStack() as stack:
        c = Cluster(agents=4, instances=4)
        for a in c.agents:
            data = os.path.join(a.dir, "data")
            os.makedirs(data, mode=0o700)
            netns.sh("mount", "-t", "tmpfs", "-o", f"size={DISK},mode=700", "blox", data)
            stack.callback(netns.sh, "umount", data)
        stack.enter_context(c)
        c.start().wait_ready(60)
        wait_for("3 voters and a spare", 60, lambda: [len(s) for s in servers(c)] == [3, 1], 0.2)
        wait_for("a write before the fault", 30, lambda: create(c, c.agents, "before"))
        old = c.wait_leader()
        name = old.get("/v2/agent")["id"]
        ballast = os.path.join(old.dir, "data", "ballast")
        others = [a for a in c.agents if a is not old]
        fill(ballast)
        start = time.monotonic()
        longest, taken, end = 0.0, 0, start + 60
        while c.leader() in (old, None) and time.monotonic() < end:
            start = time.monotonic()  # some fit into what the files have of free room
            wait_for("a write", 30, lambda: create(c, others, f"during-{taken}", LARGE), every=0.2)
            longest = max(longest, time.monotonic() - start)
            taken += 1
        wait_for("another to lead than the one whose disk is full", 30,
                 lambda: c.leader() in others)
        wait_for("a write by the new leader", 30, lambda: create(c, others, "after"))
        print(f"{taken} writes, the longest took {longest:.1f} s")
        def no_test_records():
            status, _, body = old.request("POST", "/v2/agent/propagate", {"count": 1000, "bytes": 4000})
            check(status == 507 and "is full" in body["detail"], f"{status} {body}")
            return True
        wait_for("the agent whose disk is full to refuse test records", 30, no_test_records)
        more = iter(range(10**6))

        def spare_votes():  # its log keeps room in store; what is written meanwhile uses that up
            for _ in range(20):
                create(c, others, f"more-{next(more)}", LARGE)
            voters, _ = servers(c)
            return name not in voters and len(voters) == 3
        wait_for("the spare to vote", 120, spare_votes)
        print(f"it votes {time.monotonic() - start:.1f} s after the last of these")
        os.remove(ballast)
        written = {"before", "after", *(f"during-{n}" for n in range(taken))}
        wait_for("the agent to follow", 60, lambda: written <= {
            e["name"] for e in old.items("environments")})
        wait_for("the agent to be taken in", 120, lambda: name in set.union(*servers(c)))


run(test)
