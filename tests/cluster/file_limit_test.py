#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The leader's files may not grow any more (RLIMIT_FSIZE; the kernel's signal for that would end it): as
with a full disk another one leads, it says what is wrong, and once they may it has all again."""
import resource

from harness import Cluster, check, run, wait_for


def create(c, agent, name):
    agent.write("POST", "/v2/environments",
                {"name": name, "cluster": c.name, "taskDefinition": "daemon:1"})


def test():
    with Cluster(agents=3, instances=3) as c:
        c.start().wait_ready()
        leader = c.wait_leader()
        other = next(a for a in c.agents if a is not leader)
        create(c, other, "before")
        unlimited = resource.prlimit(leader.process.p.pid, resource.RLIMIT_FSIZE)
        resource.prlimit(leader.process.p.pid, resource.RLIMIT_FSIZE, (4096, unlimited[1]))
        create(c, other, "limited")
        wait_for("another leader", 30, lambda: c.leader() not in (None, leader))
        check(leader.alive(), "it ended")
        wait_for("what is wrong", 20,
                 lambda: "refuses writes" in leader.get("/v2/agent").get("why", ""))
        status, _, body = leader.request("POST", "/v2/agent/propagate", {})
        check(status == 507 and "refuses test records" in body["detail"], f"{status} {body}")
        create(c, other, "later")
        resource.prlimit(leader.process.p.pid, resource.RLIMIT_FSIZE, unlimited)
        wait_for("all to have all", 30, lambda: all(
            a.state() == "ready" and len(a.items("environments")) == 3 for a in c.agents))


run(test)
