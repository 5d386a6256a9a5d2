#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Two halves of a network start apart and form two clusters. When they meet, for one agent joins both,
neither acts nor takes writes, and each says how to heal it; reads and blox backup go on. Then one is given up, on each of
its agents, and what the other acknowledged is there. Needs root; else it is skipped."""
import os
import time

import netns
from harness import check, run, wait_for
from netns import Net, NetCluster

HOSTS = ["cloud", "a1", "a2", "a3", "a4"]


def leader_of(agents):
    for a in agents:
        if a.get("/v2/leader").get("may_act"):
            return a
    return None


def create(c, agent, name):
    return agent.request("POST", "/v2/environments", {
        "name": name, "cluster": c.name, "taskDefinition": "daemon:1"},
        {"Idempotency-Key": os.urandom(8).hex()})


def names(agent, consistency):
    return {e["name"] for e in agent.get(f"/v2/environments?consistency={consistency}")["items"]}


def in_trouble(agent):
    return "two clusters" in agent.get("/v2/leader")["trouble"]


def test():
    netns.skip_unless_possible()
    with Net(HOSTS) as net, NetCluster(net, 4, 4) as c:
        one, other = c.agents[:2], c.agents[2:]
        for a in c.agents:
            a.settings["raft.expect"] = "2"
            a.settings["gossip.join"] = ",".join(
                f"{b.address}:7381" for b in (one if a in one else other))
        net.part({a.host for a in one}, {a.host for a in other})
        c.start()
        kept = wait_for("a leader of the one", 60, lambda: leader_of(one))
        lost = wait_for("a leader of the other", 60, lambda: leader_of(other))
        check(create(c, kept, "kept")[0] == 201, "the one takes no write")
        check(create(c, lost, "lost")[0] == 201, "the other takes no write")
        ids = [a.get("/v2/leader")["cluster_id"] for a in (kept, lost)]
        net.heal()
        third = other[0] if lost is other[1] else other[1]
        third.stop()
        third.settings["gossip.join"] = f"{kept.address}:7381,{lost.address}:7381"
        third.start()
        wait_for("all four to see it", 90, lambda: all(in_trouble(a) for a in c.agents), 0.2)
        for a in c.agents:
            status, _, body = create(c, a, f"at-{a.number}")
            check(status == 409 and "blox raft rejoin --force" in body["detail"]
                  and "blox backup" in body["detail"], f"a write at {a.number}: {status} {body}")
        check(not leader_of(c.agents), "one acts")
        check(names(kept, "strong") == {"kept"} and names(lost, "strong") == {"lost"},
              "strong reads do not go on")
        check([e["row"]["name"] for e in lost.get("/v2/intent")["environments"]] == ["lost"],
              "the other cannot be kept elsewhere")
        for a in other:
            check(a.request("POST", "/v2/raft/rejoin", {"force": False})[0] == 409, "without --force")
        begun = time.monotonic()
        for a in other:
            status, _, body = a.request("POST", "/v2/raft/rejoin", {"force": True})
            check(status == 200, f"rejoin at {a.number}: {status} {body}")
        new = wait_for("one to act", 90, lambda: leader_of(c.agents), 0.2)
        wait_for("one cluster", 60, lambda: all(
            a.get("/v2/leader")["cluster_id"] == ids[0] and not a.get("/v2/leader")["trouble"]
            for a in c.agents) and len(new.get("/v2/leader")["voters"]) == 3, 0.2)
        print(f"one cluster {time.monotonic() - begun:.1f} s after the other was given up")
        check(new in one, "one of those that were given up leads")
        check(create(c, other[0], "after")[0] == 201, "no write afterwards")
        check(names(new, "strong") == {"kept", "after"}, f"{names(new, 'strong')}")


run(test)
