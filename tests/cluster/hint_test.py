#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""No event arrives any more, and the next reconcile is far away: what happens on the instances of
agents is known all the same, because each agent asks its own ECS agent and tells the leader where
to look."""
import time

from harness import Cluster, check, run, wait_for


def running(c, arn):
    tasks = c.cloud.running("daemon:logs").get(arn, [])
    return tasks[0] if len(tasks) == 1 and tasks[0]["lastStatus"] == "RUNNING" else None


def test():
    with Cluster(agents=3, instances=3) as c:
        c.start().wait_ready()
        a = c.agents[0]
        a.write("POST", "/v2/environments",
                {"name": "logs", "cluster": c.name, "taskDefinition": "daemon:1"})
        a.write("POST", "/v2/environments/logs/deployments", {})
        arns = [i["arn"] for i in c.cloud.ready["instances"]]
        wait_for("three tasks", 30, lambda: all(running(c, arn) for arn in arns))
        c.cloud.control("set", event_loss=1)

        victim = running(c, arns[1])["taskArn"]
        begun = time.monotonic()
        c.cloud.control("kill-task", task=victim)
        wait_for("the killed task replaced", 30, lambda: (
            running(c, arns[1]) or {"taskArn": victim})["taskArn"] != victim)
        print(f"replaced without events in {time.monotonic() - begun:.1f} s")

        begun = time.monotonic()
        new = c.cloud.control("add-instances", count=1)["instances"][0]
        c.cloud.ready["instances"].append(new)
        other = type(a)(c, 4)
        c.agents.append(other)
        other.start()
        wait_for("a task on the new instance", 40, lambda: running(c, new["arn"]))
        print(f"a new instance covered without events in {time.monotonic() - begun:.1f} s")
        wait_for("all instances at the new agent", 20, lambda: len(other.items("instances")) == 4)


run(test)
