#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""SIGKILL of the leader while it takes in a storm of events, again and again. ECS answers no
question after the start, so what was lost could not come back by a reconcile: every event that left
the queue must be in a row, at every agent, also at those that were killed."""
import os
import random
import time

from harness import Cluster, check, run, wait_for

KILLS = int(os.environ.get("BLOX_KILLS", "4"))
INSTANCES = 120


def kill_a_leader(c, rng):
    leader = c.wait_leader()
    c.cloud.control("storm", count=2400)
    time.sleep(rng.uniform(0.0, 0.3))
    leader.kill()
    c.wait_leader(30)
    leader.start()
    wait_for("the killed agent to answer", 30, lambda: leader.get("/v2/agent"))


def test():
    rng = random.Random(os.environ.get("BLOX_SEED", "7"))
    args = ("--settings", '{"throttle":0,"event_duplicate":0.05,"event_delay_ms":50}')
    with Cluster(agents=5, instances=INSTANCES, cloud_args=args) as c:
        c.start().wait_ready(60)
        wait_for("the instances", 30, lambda: len(c.agents[0].items("instances")) == INSTANCES)
        for operation in ("DescribeContainerInstances", "ListContainerInstances", "ListTasks"):
            c.cloud.control("fault", operation=operation, mode="error", code="ServerException",
                            http_status=500)
        for _ in range(KILLS):
            kill_a_leader(c, rng)

        def drained():
            s = c.cloud.control("stats")
            return s["queue_ready"] + s["queue_in_flight"] + s["queue_delayed"] == 0
        # What the dead had received comes again after its visibility time-out of 30 s.
        wait_for("the queue to be empty", 90, drained, 0.2)
        want = {i["containerInstanceArn"]: i["version"] for i in c.cloud.truth()["instances"]}
        for a in c.agents:
            wait_for(f"agent {a.number}'s rows to equal the truth", 30, lambda: want == {
                i["containerInstanceArn"]: i["version"] for i in a.items("instances")}, 0.2)
        check(c.cloud.control("stats").get("answer_shape_errors", 0) == 0, "the cloud's answers")


run(test)
