#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The main job: 5 agents, 200 instances, events duplicated, reordered and 2 % lost. A deployment
ends with exactly one task on each matching instance; new instances are covered, dead tasks
replaced, drained and deregistered instances handled; afterwards every agent's answer equals the
cloud's truth row by row."""
import time

from harness import Cluster, check, run, wait_for


def one_each(c, group, expected):
    """True if exactly one live task of the group is on each of the expected instances."""
    live = c.cloud.running(group)
    return set(live) == set(expected) and all(
        len(tasks) == 1 and tasks[0]["lastStatus"] == "RUNNING" for tasks in live.values())


def active(c):
    return [i["containerInstanceArn"] for i in c.cloud.truth()["instances"]
            if i["status"] == "ACTIVE"]


def rows_equal(c):
    """'' if every agent's rows equal the truth, else the first difference."""
    truth = c.cloud.truth()
    for agent in c.agents:
        for kind, key in (("instances", "containerInstanceArn"), ("tasks", "taskArn")):
            want = {r[key]: r for r in truth[kind]}
            have = {r[key]: r for r in agent.items(kind)}
            if set(want) != set(have):
                missing, extra = set(want) - set(have), set(have) - set(want)
                return (f"agent {agent.number} {kind}: {len(missing)} missing {list(missing)[:2]}, "
                        f"{len(extra)} extra {list(extra)[:2]}")
            for arn, row in want.items():
                got = have[arn]
                fields = ("status", "agentConnected", "version") if kind == "instances" else (
                    "lastStatus", "desiredStatus", "group", "startedBy", "containerInstanceArn",
                    "taskDefinitionArn", "version")
                for f in fields:
                    if row.get(f) != got.get(f):
                        return f"agent {agent.number} {arn} {f}: {got.get(f)} is not {row.get(f)}"
    return ""


def covered_after_joining(c, group):
    """Seconds from the new instance's ACTIVE to the StartTask on it, by the truth log."""
    before = set(active(c))
    c.cloud.control("add-instances", count=1)
    started = time.monotonic()
    new = wait_for("the new instance", 20, lambda: set(active(c)) - before)
    arn = new.pop()
    wait_for("a task on the new instance", 60, lambda: c.cloud.running(group).get(arn), 0.01)
    return time.monotonic() - started


def test():
    group = "daemon:logs"
    with Cluster(agents=5, instances=200) as c:
        c.cloud.control("set", event_duplicate=0.05, event_delay_ms=300)
        for agent in c.agents:
            agent.settings["intake.reconcile_interval"] = "15s"  # what a lost event costs at most
        c.start().wait_ready(60)
        a = c.agents[3]
        a.write("POST", "/v2/environments",
                {"name": "logs", "cluster": c.name, "taskDefinition": "daemon:1"})
        c.cloud.control("set", event_loss=0.02)
        begun = time.monotonic()
        c.agents[1].write("POST", "/v2/environments/logs/deployments", {})
        wait_for("one task on each instance", 60, lambda: one_each(c, group, active(c)), 0.2)
        print(f"200 instances covered in {time.monotonic() - begun:.1f} s")
        wait_for("the deployment to complete", 60, lambda: [
            d for d in c.agents[4].items("deployments") if d["status"] == "completed"])

        c.cloud.control("set", event_loss=0)
        times = [covered_after_joining(c, group) for _ in range(5)]
        print("new instance covered in " + " ".join(f"{t:.2f}" for t in times) + " s")

        victim = next(iter(c.cloud.running(group).values()))[0]
        c.cloud.control("kill-task", task=victim["taskArn"])
        wait_for("the killed task replaced", 60, lambda: one_each(c, group, active(c)), 0.1)

        arns = active(c)
        c.cloud.control("drain", instance=arns[0])
        c.cloud.control("deregister", instance=arns[1])
        wait_for("drained and deregistered instances left alone", 60,
                 lambda: one_each(c, group, active(c)), 0.1)
        check(arns[0] not in c.cloud.running(group), "a task is left on the drained instance")

        last = [""]

        def equal():
            last[0] = rows_equal(c)
            return not last[0]
        try:
            wait_for("every agent's rows to equal the truth", 60, equal, 1)
        finally:
            if last[0]:
                print("difference:", last[0])


run(test)
