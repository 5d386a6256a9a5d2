#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""All voters are reclaimed within one second, while clients write: with raft.auto_recover the rest goes
on by itself once ECS and EC2 say that they are gone, and every write that was acknowledged is there.
While ECS still lists them, or EC2 says that one runs, or may not be asked, nobody recovers anything; and
that EC2 may not be asked is said before the bad day."""
import http.client
import os
import threading
import time

from harness import Cluster, check, run, wait_for

AGENTS = 6
MOST = 150  # a writer: there may be 1,000 environments


def names(leader, kind):
    return {s["id"] for s in leader.get("/v2/leader")[kind]}


def settled(c):
    leader = c.leader()
    doc = leader.get("/v2/leader") if leader else {"voters": [], "learners": []}
    return leader if (len(doc["voters"]), len(doc["learners"])) == (3, 2) else None


class Writer(threading.Thread):
    """Creates environments at one agent until told to stop; keeps the names of the acknowledged."""

    def __init__(self, c, agent, number):
        super().__init__(daemon=True)
        self.c, self.agent, self.number = c, agent, number
        self.acknowledged, self.over = [], False
        self.start()

    def run(self):
        n = 0
        while not self.over and n < MOST:
            n += 1
            name = f"w{self.number}-{n}"
            try:
                status, _, _ = self.agent.request("POST", "/v2/environments", {
                    "name": name, "cluster": self.c.name, "taskDefinition": "daemon:1"},
                    {"Idempotency-Key": os.urandom(8).hex()})
                if status == 201:
                    self.acknowledged.append(name)
            except (OSError, http.client.HTTPException):
                pass
            time.sleep(0.05)


def recovered(agents):
    for a in agents:
        try:
            if a.get("/v2/leader").get("may_act"):
                return a
        except (OSError, http.client.HTTPException):
            pass
    return None


DENIED = {"service": "ec2", "operation": "DescribeInstances", "mode": "error", "status": 403,
          "code": "UnauthorizedOperation", "message": "You are not authorized to perform this."}


def answers(agents, since, **fields):
    """Who logged such an answer to whether a voter is gone, after so many lines."""
    return [a for a in agents for e in list(a.log_lines())[since[a]:]
            if e.get("event") == "voter_gone" and all(e.get(key, "").startswith(word) for key, word in fields.items())]


def never_recovers(c, rest, old, seconds, why, **fields):
    since = {a: len(list(a.log_lines())) for a in rest}
    wait_for(f"an answer: {why}", 40, lambda: answers(rest, since, **fields))
    time.sleep(seconds)
    check(not recovered(rest), f"recovered although {why}")
    check(all(a.get("/v2/leader")["cluster_id"] == old for a in rest), f"a new cluster id: {why}")


def test():
    with Cluster(agents=AGENTS, instances=AGENTS) as c:
        for a in c.agents:
            a.settings["raft.auto_recover"] = "true"
        c.cloud.control("fault", **DENIED)
        c.start()
        wait_for("all to say what permission is missing", 60, lambda: all(
            "ec2:DescribeInstances" in (a.get("/v2/agent").get("why") or "") for a in c.agents))
        c.cloud.control("clear-faults")
        c.wait_ready(60)
        leader = wait_for("3 voters and 2 spares", 60, lambda: settled(c), 0.2)
        for a in c.agents:
            a.name = a.get("/v2/agent")["id"]
        old = leader.get("/v2/leader")["cluster_id"]
        writers = [Writer(c, a, n) for n, a in enumerate(c.agents)]
        wait_for("some writes", 60, lambda: all(len(w.acknowledged) > 10 for w in writers))
        leader = wait_for("3 voters and 2 spares still", 60, lambda: settled(c), 0.01)
        now = names(leader, "voters")  # others than at the start if one of those was slow
        voters = [a for a in c.agents if a.name in now]
        rest = [a for a in c.agents if a not in voters]
        for a in voters:
            a.kill()
        died = time.monotonic()
        for w in writers:
            w.over = True
        for w in writers:
            w.join(60)
        ids = [c.instance_of(a.number)["arn"] for a in voters]
        never_recovers(c, rest, old, 8, "ECS has the voters", ecs="listed", ec2="not asked")
        c.cloud.control("deregister", instance=ids)
        never_recovers(c, rest, old, 8, "EC2 says that they run", ecs="not listed", ec2="running")
        c.cloud.control("fault", **DENIED)
        c.cloud.control("terminate", instance=ids)
        never_recovers(c, rest, old, 8, "EC2 may not be asked", ecs="not listed", ec2="denied")
        c.cloud.control("clear-faults")
        c.cloud.control("fault", service="ec2", mode="throttle", probability=0.5)
        new = wait_for("the rest to recover", 90, lambda: recovered(rest), 0.2)
        print(f"agent {new.number} leads {time.monotonic() - died:.1f} s after the deaths")
        have = {e["name"] for e in new.get("/v2/environments?consistency=strong")["items"]}
        known = {n for w in writers for n in w.acknowledged}
        lost = known - have
        print(f"{len(known)} acknowledged writes, {len(lost)} lost")
        check(not lost, f"lost {sorted(lost)}")
        wait_for("one cluster, three voters", 60, lambda: all(
            len(names(a, "voters")) == 3 for a in rest) and len({
                a.get("/v2/leader")["cluster_id"] for a in rest}) == 1, 0.2)
        check(sum("raft_recover" == e.get("event") and "anew" in e.get("message", "")
                  for a in rest for e in a.log_lines()) == 1, "more than one recovered")
        new.write("POST", "/v2/environments",
                  {"name": "after", "cluster": c.name, "taskDefinition": "daemon:1"})


run(test)
