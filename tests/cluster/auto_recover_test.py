#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""All voters are reclaimed within one second, while clients write: with raft.auto_recover the rest goes
on by itself once ECS says that they are gone, and every write that was acknowledged is there. While
ECS still lists them, nobody recovers anything."""
import http.client
import os
import threading
import time

from harness import Cluster, check, run, wait_for

AGENTS = 6


def names(leader, kind):
    return {s["id"] for s in leader.get("/v2/leader")[kind]}


def settled(c):
    leader = c.leader()
    return leader if leader and len(names(leader, "voters")) == 3 and \
        len(names(leader, "learners")) == 2 else None


class Writer(threading.Thread):
    """Creates environments at one agent until told to stop; keeps the names of the acknowledged."""

    def __init__(self, c, agent, number):
        super().__init__(daemon=True)
        self.c, self.agent, self.number = c, agent, number
        self.acknowledged, self.over = [], False
        self.start()

    def run(self):
        n = 0
        while not self.over:
            n += 1
            name = f"w{self.number}-{n}"
            try:
                status, _, _ = self.agent.request("POST", "/v2/environments", {
                    "name": name, "cluster": self.c.name, "taskDefinition": "daemon:1"},
                    {"Idempotency-Key": os.urandom(8).hex()})
                if status == 201:
                    self.acknowledged.append(name)
            except (OSError, http.client.HTTPException):
                time.sleep(0.1)


def recovered(agents):
    for a in agents:
        try:
            if a.get("/v2/leader").get("may_act"):
                return a
        except (OSError, http.client.HTTPException):
            pass
    return None


def test():
    with Cluster(agents=AGENTS, instances=AGENTS) as c:
        for a in c.agents:
            a.settings["raft.auto_recover"] = "true"
        c.start().wait_ready(60)
        leader = wait_for("3 voters and 2 spares", 60, lambda: settled(c), 0.2)
        for a in c.agents:
            a.name = a.get("/v2/agent")["id"]
        voters = [a for a in c.agents if a.name in names(leader, "voters")]
        rest = [a for a in c.agents if a not in voters]
        old = leader.get("/v2/leader")["cluster_id"]
        writers = [Writer(c, a, n) for n, a in enumerate((leader, rest[0], rest[1]))]
        wait_for("some writes", 30, lambda: all(len(w.acknowledged) > 20 for w in writers))
        for a in voters:
            a.kill()
        died = time.monotonic()
        for w in writers:
            w.over = True
        time.sleep(20)
        check(not recovered(rest), "recovered although ECS has the voters")
        check(all(a.get("/v2/leader")["cluster_id"] == old for a in rest), "a new cluster id")
        for a in voters:
            c.cloud.control("terminate", instance=c.instance_of(a.number)["arn"])
        new = wait_for("the rest to recover", 90, lambda: recovered(rest), 0.2)
        print(f"agent {new.number} leads {time.monotonic() - died:.1f} s after the deaths")
        have = {e["name"] for e in new.get("/v2/environments?consistency=strong")["items"]}
        known = {n for w in writers for n in w.acknowledged}
        lost = known - have
        print(f"{len(known)} acknowledged writes, {len(lost)} lost")
        check(not lost, f"lost {sorted(lost)}")
        wait_for("one cluster, three voters", 60, lambda: len(names(new, "voters")) == 3, 0.2)
        check(len({a.get("/v2/leader")["cluster_id"] for a in rest}) == 1, "two cluster ids")
        check(sum("raft_recover" == e.get("event") and "anew" in e.get("message", "")
                  for a in rest for e in a.log_lines()) == 1, "more than one recovered")
        new.write("POST", "/v2/environments",
                  {"name": "after", "cluster": c.name, "taskDefinition": "daemon:1"})


run(test)
