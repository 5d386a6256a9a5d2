#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""kill -9 amid a recovery, in all its moments: the agent is then of the old cluster or of the new one,
whole, and has all that was acknowledged. Of the old one it recovers again. Every round begins with the
same data directory of a voter whose two peers are gone."""
import http.client
import json
import os
import shutil
import time

from harness import Cluster, check, run, wait_for

ROUNDS = 16
LAST_MS = 15  # from the request to the kill, in the last round


def names(agent, consistency):
    items = agent.get(f"/v2/environments?consistency={consistency}")["items"]
    return {e["name"] for e in items}


def survivor_of(c):
    """One that has a log of some length, the directory that it leaves, and what was acknowledged."""
    c.start()
    leader = c.wait_leader(60)
    wait_for("three voters", 60, lambda: len(c.wait_leader().get("/v2/leader")["voters"]) == 3, 0.2)
    acknowledged = set()
    for n in range(12):
        leader.write("POST", "/v2/environments", {"name": f"e{n}", "cluster": c.name,
                                                  "taskDefinition": "daemon:1"})
        acknowledged.add(f"e{n}")
    one = next(a for a in c.agents if a is not leader)
    wait_for("all of it at one", 20, lambda: names(one, "local") == acknowledged)
    cluster = one.get("/v2/leader")["cluster_id"]
    for a in c.agents:
        a.kill()
    return one, cluster, acknowledged


def leads(agent):
    doc = agent.get("/v2/leader")
    return doc if doc["role"] == "leader" and doc["may_act"] else None


def started(agent):
    agent.start()
    return wait_for("its raft", 20, lambda: agent.get("/v2/leader")
                    if "config_index" in agent.get("/v2/leader") else None, 0.01)


def ask(agent):
    """POST /v2/raft/recover; the answer is not waited for."""
    conn = http.client.HTTPConnection("127.0.0.1", agent.api, timeout=5)
    conn.request("POST", "/v2/raft/recover", json.dumps({"force": True}),
                 {"Content-Type": "application/json"})
    return conn


def test():
    with Cluster(agents=3, instances=3) as c:
        one, old, acknowledged = survivor_of(c)
        data, kept = os.path.join(one.dir, "data"), os.path.join(one.dir, "kept")
        shutil.copytree(data, kept)
        found = {"old": 0, "new": 0}
        for k in range(ROUNDS):
            shutil.rmtree(data)
            shutil.copytree(kept, data)
            check(started(one)["cluster_id"] == old, "another cluster than before")
            conn = ask(one)
            time.sleep(k * LAST_MS / (ROUNDS - 1) / 1000)
            one.kill()
            conn.close()
            doc = started(one)
            is_new = doc["cluster_id"] != old
            found["new" if is_new else "old"] += 1
            check({v["id"] for v in doc["voters"]} == {one.get("/v2/agent")["id"]} if is_new
                  else len(doc["voters"]) == 3, f"neither the old nor the new cluster: {doc}")
            if not is_new:
                check(not leads(one), "leads the old cluster alone")
                ask(one).getresponse().read()
            doc = wait_for("it to lead", 20, lambda: leads(one), 0.02)
            check(doc["cluster_id"] != old, "the id of the old cluster")
            check(names(one, "strong") == acknowledged, f"has {names(one, 'strong')}")
            one.kill()
        print(f"killed {ROUNDS} times: {found['old']} of the old cluster, {found['new']} of the new")


run(test)
