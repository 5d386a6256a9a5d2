#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Agents as an installation leaves them: they find each other by the addresses that each writes to ECS, and nobody told
them how many there will be. All start in one moment: they form one cluster. Where they may not write their addresses they
form none, for others could not find it, and say what they lack. One that runs on no container instance, and finds
nobody, leads alone."""
from harness import Cluster, check, run, wait_for

DEFAULT = {"gossip.join": "", "gossip.join_ecs": "true", "raft.expect": "0", "raft.bootstrap_wait": "5s"}


def ids(agents):
    return {a.get("/v2/leader").get("cluster_id") for a in agents}


def started(a):
    """Of how many voters each cluster is that this agent started."""
    return [line["voters"] for line in a.log_lines() if line["event"] == "raft_bootstrap"]


def trouble(a):
    return a.get("/v2/leader")["trouble"]


def one_cluster():
    with Cluster(6, 6) as c:
        for a in c.agents:
            a.settings.update(DEFAULT)
        c.cloud.control("fault", mode="delay", ms=7000, operation="PutAttributes", probability=0.6)
        c.start()
        wait_for("a leader that all know", 90,
                 lambda: c.leader() and all(a.get("/v2/leader").get("leader") for a in c.agents))
        check(len(ids(c.agents)) == 1, f"clusters {ids(c.agents)}")
        # Three, but for those whose address stands there late: by as many as it is of, and once.
        starts = sum(map(started, c.agents), [])
        check(starts and starts == [len(starts)] * len(starts), f"started of {starts} voters")


def without_permission():
    with Cluster(3, 3) as c:
        for a in c.agents:
            a.settings.update(DEFAULT)
        c.cloud.control("fault", operation="PutAttributes", mode="error", status=400,
                        code="AccessDeniedException")
        c.start()
        wait_for("all to say what they lack", 30,
                 lambda: all("blox.addr" in trouble(a) for a in c.agents))
        wait_for("why", 30, lambda: all("AccessDenied" in str(a.get("/v2/agent"))
                                        for a in c.agents))
        check(not any(map(started, c.agents)), "one formed a cluster that nobody can find")
        c.cloud.control("clear-faults")
        wait_for("a leader that all know", 90,
                 lambda: c.leader() and all(a.get("/v2/leader").get("leader") for a in c.agents))
        check(len(ids(c.agents)) == 1, f"clusters {ids(c.agents)}")


def outside():
    with Cluster(1, 0) as c:
        c.agents[0].settings.update(DEFAULT)
        c.agents[0].env.update({"AWS_ACCESS_KEY_ID": c.cloud.ready["access_key_id"],
                                "AWS_SECRET_ACCESS_KEY": c.cloud.ready["secret_access_key"]})
        c.start()
        wait_for("a leader", 40, c.leader)


def test():
    one_cluster()
    outside()
    without_permission()


run(test)
