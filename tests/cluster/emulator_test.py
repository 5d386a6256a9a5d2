#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The main job against clouds that answer as the emulators of ECS and SQS do (emulator.py): long
and short ARNs, SQS in JSON and, as it was before, as forms and XML. Only the environment names the
cloud: AWS_ENDPOINT_URL, keys that mean nothing, no instance metadata."""
import json
import time

from emulator import Emulator, arn
from harness import Cluster, check, run, wait_for

TASK = "ECS Task State Change"


def event(cloud, task, version, status):
    return json.dumps({
        "version": "0", "id": "0", "detail-type": TASK, "source": "aws.ecs",
        "account": "123456789012", "time": "2026-11-22T09:00:00Z", "region": "us-east-1",
        "resources": [task], "detail": {
            "taskArn": task, "clusterArn": arn("cluster", cloud.cluster), "lastStatus": status,
            "desiredStatus": "RUNNING", "version": version, "group": "service:café <&>",
            "overrides": {"containerOverrides": []}, "containers": []}}, ensure_ascii=False)


def agents_on(c, cloud, queue):
    for agent in c.agents:
        agent.settings.update({
            "intake.queue": queue, "intake.reconcile_interval": "2s", "aws.region": "us-east-1",
            "agent.cluster": cloud.cluster})
        agent.env.update({
            "AWS_ENDPOINT_URL": cloud.endpoint, "AWS_ACCESS_KEY_ID": "test",
            "AWS_SECRET_ACCESS_KEY": "test", "AWS_EC2_METADATA_DISABLED": "true"})


def live(cloud, group):
    with cloud.lock:
        return sorted(t["containerInstanceArn"] for t in cloud.tasks.values()
                      if t["group"] == group and t["lastStatus"] == "RUNNING")


def active(cloud):
    with cloud.lock:
        return sorted(i["containerInstanceArn"] for i in cloud.instances.values()
                      if i["status"] == "ACTIVE")


def main_job(cloud, queue):
    group = "daemon:logs"
    with Cluster(agents=3, cloud=False) as c:
        agents_on(c, cloud, queue)
        c.start().wait_ready(60)
        a = c.agents[0]
        wait_for("the instances", 20, lambda: len(a.items("instances")) == len(active(cloud)))
        a.write("POST", "/v2/environments",
                {"name": "logs", "cluster": cloud.cluster, "taskDefinition": "daemon:1"})
        a.write("POST", "/v2/environments/logs/deployments", {})
        wait_for("one task on each instance", 60, lambda: live(cloud, group) == active(cloud))
        wait_for("the deployment to complete", 30, lambda: [
            d for d in c.agents[1].items("deployments") if d["status"] == "completed"])

        # Nothing tells of this one but the reconcile, and there is no version to compare.
        with cloud.lock:
            victim = next(t for t in cloud.tasks.values() if t["lastStatus"] == "RUNNING")
            cloud.end_task(victim, "it fell over")
        wait_for("the dead task replaced", 30, lambda: live(cloud, group) == active(cloud))
        # Drained, with the same (lack of) version; then gone without a failure that names it.
        with cloud.lock:
            first, second = list(cloud.instances.values())[:2]
            first["status"] = "DRAINING"
        wait_for("the drained instance left", 30, lambda: live(cloud, group) == active(cloud))
        with cloud.lock:
            del cloud.instances[second["id"]]
            for number, task in list(cloud.tasks.items()):
                if task["containerInstanceArn"] == second["containerInstanceArn"]:
                    del cloud.tasks[number]
        wait_for("the lost instance forgotten", 60, lambda: second["containerInstanceArn"] not in [
            i["containerInstanceArn"] for i in c.agents[2].items("instances")])
        check(live(cloud, group) == active(cloud), "tasks do not match the instances that are left")

        # Events through the queue: out of order, twice, poison; all leave it.
        with cloud.lock:
            cloud.tasks["x"] = {"taskArn": arn("task", "x"), "lastStatus": "RUNNING",
                                "desiredStatus": "RUNNING", "clusterArn": arn("cluster", cloud.cluster),
                                "version": 9, "startedBy": "", "group": "service:café <&>",
                                "containerInstanceArn": first["containerInstanceArn"]}
        for version, status in ((9, "RUNNING"), (8, "PENDING"), (9, "RUNNING")):
            cloud.send(event(cloud, arn("task", "x"), version, status))
        cloud.send("not an event")
        # One without a version: nothing to put it in order by, but a reason to ask.
        with cloud.lock:
            cloud.tasks["y"] = {**cloud.tasks["x"], "taskArn": arn("task", "y"), "version": 1}
        cloud.send(event(cloud, arn("task", "y"), None, "PENDING"))
        # Beyond the visibility time-out: who received may have lost the lead before it deleted.
        wait_for("the queue to be empty", 60, lambda: cloud.left() == 0)
        for agent in c.agents:
            wait_for("the task of the event", 20, lambda: [
                t for t in agent.items("tasks") if t["taskArn"] == arn("task", "x")
                and t["lastStatus"] == "RUNNING" and t["group"] == "service:café <&>"])
            wait_for("the task without a version", 20, lambda: [
                t for t in agent.items("tasks") if t["taskArn"] == arn("task", "y")
                and t["lastStatus"] == "RUNNING"])

        before, begun = cloud.calls["ReceiveMessage"], time.monotonic()
        time.sleep(3)
        asked = cloud.calls["ReceiveMessage"] - before
        rate = asked / (time.monotonic() - begun)
        check(rate < 20, f"an empty queue was asked {rate:.0f} times a second")


def forgetful(cloud):
    """Whose tasks they are is known by who started them."""
    group = "daemon:logs"
    with Cluster(agents=3, cloud=False) as c:
        agents_on(c, cloud, "events")
        c.start().wait_ready(60)
        a = c.agents[0]
        a.write("POST", "/v2/environments",
                {"name": "logs", "cluster": cloud.cluster, "taskDefinition": "daemon:1"})
        for before in ([], ["superseded"]):
            a.write("POST", "/v2/environments/logs/deployments", {})
            wait_for("the deployment to complete", 60, lambda old=before: sorted(
                d["status"] for d in c.agents[1].items("deployments")) == ["completed"] + old)
        check(live(cloud, group) == active(cloud), "one task on each instance")
        wait_for("them to be the environment's", 20, lambda: len(
            c.agents[2].items("tasks", "&environment=logs&status=RUNNING")) == len(active(cloud)))
        with cloud.lock:
            victim = next(t for t in cloud.tasks.values() if t["lastStatus"] == "RUNNING")
            cloud.end_task(victim, "it fell over")
        wait_for("the dead task replaced", 30, lambda: live(cloud, group) == active(cloud))
        a.write("DELETE", "/v2/environments/logs?stop_tasks=true")
        wait_for("all of them to be stopped", 30, lambda: not live(cloud, group))


def test():
    cloud = Emulator(forgets_group=True)
    forgetful(cloud)
    cloud.close()
    json_cloud = Emulator(cluster="default", fail_every=37, hasty=True, compress=True)
    main_job(json_cloud, "events")
    json_cloud.close()
    old = Emulator(cluster="prod", short_arns=True, query_only=True)
    main_job(old, old.queue_url)
    check(old.calls.get("DeleteMessageBatch", 0) > 0, "nothing was deleted by form")
    old.close()


run(test)
