#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The longest names that ECS gives: a cluster of 255 characters in a partition and region with long
names of their own, an environment of 30. The whole way: configuration, intake, daemons, /v1, /v2,
a restart."""
import urllib.parse

from harness import Cluster, blox, check, run, wait_for

NAME = ("a-_B9" * 51)[:255]
ENVIRONMENT = "n" * 30
INSTANCES = 4


def quoted(text):
    return urllib.parse.quote(text, safe="")


def ask(agent, path, count):
    items = agent.get(path)["items"]
    check(len(items) == count, f"{path}: {len(items)} items, not {count}")


def lists(agent, task, instance):
    cluster = quoted(task["clusterArn"])
    for path, count in ((f"/v2/tasks?instance={quoted(instance['id'])}", 1),
                        (f"/v2/tasks?instance={instance['id'].split('/')[-1]}", 1),
                        (f"/v2/tasks?cluster={NAME}", INSTANCES),
                        (f"/v2/tasks?cluster={cluster}&sort=-createdAt", INSTANCES),
                        (f"/v2/tasks?environment={ENVIRONMENT}", INSTANCES),
                        (f"/v2/decisions?task={quoted(task['id'])}", 1),
                        (f"/v2/tasks?filter={quoted('task:group == daemon:' + ENVIRONMENT)}",
                         INSTANCES),
                        (f"/v1/tasks?cluster={NAME}&status=running", INSTANCES),
                        (f"/v1/instances?cluster={cluster}&status=active", INSTANCES)):
        ask(agent, path, count)
    for path in (f"/v1/tasks/{NAME}/{task['id']}", f"/v1/tasks/{NAME}/{quoted(task['id'])}",
                 f"/v1/instances/{NAME}/{instance['id']}", f"/v2/tasks/{quoted(task['id'])}"):
        status, _, body = agent.request("GET", path)
        check(status == 200, f"{path}: {status} {body}")


def pages(agent):
    seen, token = [], ""
    while token is not None:
        page = agent.get("/v2/tasks?limit=1&sort=-createdAt&next_token=" + quoted(token))
        seen += [t["id"] for t in page["items"]]
        token = page.get("next_token")
    check(len(seen) == len(set(seen)) == INSTANCES, f"pages: {seen}")


def test():
    with Cluster(agents=3, instances=INSTANCES, name=NAME,
                 cloud_args=("--partition", "aws-us-gov", "--region", "us-gov-west-1")) as c:
        c.start().wait_ready(60)
        a = c.agents[0]
        a.write("POST", "/v2/environments",
                {"name": ENVIRONMENT, "cluster": NAME, "taskDefinition": "daemon:1"})
        a.write("POST", f"/v2/environments/{ENVIRONMENT}/deployments", {})
        wait_for("the deployment", 60, lambda: [d for d in c.agents[1].items("deployments")
                                                if d["status"] == "completed"])
        wait_for("all tasks to run, everywhere", 30, lambda: all(
            len(b.items("tasks", "&status=RUNNING")) == INSTANCES for b in c.agents))
        for b in c.agents:
            task, instance = b.items("tasks")[0], b.items("instances")[0]
            check(len(instance["id"]) == 353, f"the longest ARN: {instance['id']}")
            lists(b, task, instance)
            pages(b)
        _, out, _ = blox(c.agents[1], "get", "tasks", "--environment", ENVIRONMENT, expect=0)
        check(len(out.splitlines()) == INSTANCES + 1, out)
        a.stop()
        a.start()
        c.wait_ready(60)
        check(len(a.items("tasks")) == INSTANCES, "after a restart")


run(test)
