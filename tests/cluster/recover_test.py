#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""All but one of three voters are lost with their disks: `blox raft recover` on the third brings the
cluster back with all that was acknowledged; new agents vote. A voter of before that comes back with
its disk neither leads nor votes until it is told to rejoin, also if it had more of the log. And with
all voters lost, an agent that never voted recovers from what gossip left it."""
import os
import shutil

import harness
from harness import Cluster, check, run, wait_for


def blox(agent, *args, expect=0):
    return "".join(harness.blox(agent, *args, expect=expect)[1:])


def voters(leader):
    return {s["id"] for s in leader.get("/v2/leader")["voters"]}


def fill(c, prefix, count):
    leader = c.wait_leader()
    ids = set()
    for n in range(count):
        leader.write("POST", "/v2/environments", {"name": f"{prefix}{n}", "cluster": c.name,
                                                  "taskDefinition": "daemon:1"})
        d = leader.write("POST", f"/v2/environments/{prefix}{n}/deployments", {})
        ids.add(d["id"])
    return ids


def wait_there(agent, names, ids):
    """By its own rows: a majority acknowledges a write, and one agent need not be part of it."""
    wait_for(f"agent {agent.number} to have all", 20, lambda: names <= {
        e["name"] for e in agent.items("environments")} and ids <= {
        d["id"] for d in agent.items("deployments")})


def check_there(agent, names, ids):
    items = agent.get("/v2/environments?consistency=strong")["items"]
    have = {e["name"] for e in items}
    check(names <= have, f"lost environments {names - have}")
    for name in names:
        path = f"/v2/environments/{name}/deployments?consistency=strong"
        ids = ids - {d["id"] for d in agent.get(path)["items"]}
    check(not ids, f"lost deployments {ids}")


def lose_quorum():
    with Cluster(agents=4, instances=4) as c:
        late = c.agents.pop()
        c.start().wait_ready(60)
        wait_for("three voters", 60, lambda: len(voters(c.wait_leader())) == 3, 0.2)
        ids = fill(c, "e", 4)
        names = {f"e{n}" for n in range(4)}
        blox(c.wait_leader(), "raft", "recover", expect=6)  # there is a leader
        gone, back = c.agents[0], c.agents[1]
        survivor = c.agents[2]
        wait_there(survivor, names, ids)
        backup = os.path.join(c.dir, "backup")
        with open(backup, "w", encoding="utf-8") as f:
            f.write(harness.blox(survivor, "backup", expect=0)[1])
        check("not known to be" in blox(survivor, "raft", "rejoin", expect=6), "needless rejoin")
        gone.kill()
        back.kill()
        shutil.rmtree(os.path.join(gone.dir, "data"))
        wait_for("the quorum to be lost", 30, lambda: "raft recover" in
                 survivor.get("/v2/leader").get("trouble", ""), 0.2)
        wait_for("gossip to see the deaths", 30, lambda: not any(
            m["state"] in ("alive", "suspect", "degraded") and not m["self"]
            for m in survivor.items("members")), 0.2)
        old = survivor.get("/v2/leader")["cluster_id"]
        check("recovered as cluster" in blox(survivor, "raft", "recover"), "recover")
        wait_for("the survivor to lead", 20, lambda: c.leader() is survivor, 0.1)
        new = survivor.get("/v2/leader")["cluster_id"]
        check(new != old, "the cluster id is the old one")
        check_there(survivor, names, ids)
        check("4 environments" in blox(survivor, "restore", backup), "a backup of before")

        gone.start()
        c.agents.append(late)
        late.start()
        wait_for("new voters", 60, lambda: len(voters(c.wait_leader())) == 3, 0.2)
        ids |= fill(c, "f", 2)
        names |= {"f0", "f1"}

        back.start()  # with the raft log of the former cluster
        wait_for("the voter of before to notice", 30, lambda: "raft rejoin" in
                 back.get("/v2/leader").get("trouble", ""), 0.2)
        check(not back.leading(), "a voter of the former cluster leads")
        wait_for("the new cluster without trouble", 30, lambda: c.leader().get(
            "/v2/leader").get("trouble", "") == "")
        fill(c, "g", 1)
        check("forgotten" in blox(back, "raft", "rejoin"), "rejoin")
        wait_for("it belongs to the new cluster", 30, lambda:
                 back.get("/v2/leader")["cluster_id"] == new and back.state() == "ready", 0.2)
        check_there(back, names | {"g0"}, ids)


def recover_the_older():
    """The one that is recovered had been away: the voter that comes back has more of the former log,
    applied too. After its rejoin it has what the new cluster has, and only that."""
    with Cluster(agents=3, instances=3) as c:
        c.start().wait_ready(60)
        wait_for("three voters", 60, lambda: len(voters(c.wait_leader())) == 3, 0.2)
        ids = fill(c, "e", 2)
        survivor = c.agents[2]
        wait_there(survivor, {"e0", "e1"}, ids)
        survivor.kill()
        fill(c, "x", 60)
        back = c.wait_leader()
        for a in c.agents[:2]:
            a.kill()
        survivor.start()
        wait_for("its raft", 20, lambda: "config_index" in survivor.get("/v2/leader"), 0.2)
        blox(survivor, "raft", "recover", "--force")
        wait_for("the survivor to lead", 20, lambda: c.leader() is survivor, 0.1)
        new = survivor.get("/v2/leader")["cluster_id"]
        check_there(survivor, {"e0", "e1"}, ids)
        back.start()
        wait_for("the voter of before to notice", 30, lambda: "raft rejoin" in
                 back.get("/v2/leader").get("trouble", ""), 0.2)
        blox(back, "raft", "rejoin")
        wait_for("it belongs to the new cluster", 30, lambda:
                 back.get("/v2/leader")["cluster_id"] == new and back.state() == "ready", 0.2)
        ids |= fill(c, "f", 2)
        check_there(back, {"e0", "e1", "f0", "f1"}, ids)
        wait_for("it votes in the new cluster, by the new log", 30, lambda: back.get(
            "/v2/leader")["config_index"] == survivor.get("/v2/leader")["config_index"] and
            len(voters(back)) == 2, 0.2)
        wait_for("its rows to be the new cluster's", 30, lambda:
                 {e["name"] for e in back.items("environments")} ==
                 {e["name"] for e in survivor.items("environments")}, 0.2)


def lose_all_voters():
    with Cluster(agents=5, instances=5) as c:
        keeper = c.agents[4]
        keeper.settings["agent.role"] = "member"
        for a in c.agents:
            a.settings["raft.expect"] = "4"
        c.start().wait_ready(60)
        ids = fill(c, "e", 3)
        names = {"e0", "e1", "e2"}
        wait_there(keeper, names, ids)
        for a in c.agents[:4]:
            a.kill()
            shutil.rmtree(os.path.join(a.dir, "data"))
        check("role = member" in blox(keeper, "raft", "recover", expect=6), "a member recovers")
        keeper.stop()
        keeper.settings["agent.role"] = "candidate"
        keeper.start()
        wait_for("its API", 20, lambda: keeper.get("/v2/leader"), 0.2)
        wait_for("its raft", 20, lambda: "config_index" in keeper.get("/v2/leader"), 0.2)
        blox(keeper, "raft", "recover", "--force")
        wait_for("it leads", 20, lambda: c.leader() is keeper, 0.1)
        check_there(keeper, names, ids)
        for a in c.agents[:2]:
            a.start()
        wait_for("three voters", 60, lambda: len(voters(c.wait_leader())) == 3, 0.2)
        fill(c, "f", 1)


def test():
    lose_quorum()
    recover_the_older()
    lose_all_voters()


run(test)
