#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""SIGKILL of the leader while it takes in a storm of events, again and again. ECS answers no
question after the start, so what was lost could not come back by a reconcile: every event that left
the queue must be in a row, at every agent, also at those that were killed. Each storm changes each
instance once, and the rows are compared after each: the next event would hide that one was lost."""
import contextlib
import os
import random
import signal
import subprocess
import sys
import time

from harness import Cluster, check, run, wait_for

KILLS = int(os.environ.get("BLOX_KILLS", "3"))
INSTANCES = 1200


def schedule(agent, policy):
    """All its threads but the loop's."""
    pid = agent.process.p.pid
    with contextlib.suppress(FileNotFoundError):  # dead by now
        for thread in os.listdir(f"/proc/{pid}/task"):
            if int(thread) != pid:
                with contextlib.suppress(ProcessLookupError):  # a short one
                    os.sched_setscheduler(int(thread), policy, os.sched_param(0))


@contextlib.contextmanager
def starved(agent):
    """Its writer, as on a machine with much else to do: commits take long, its loop runs on. So a
    message that leaves the queue before its row is stored is lost by the kill."""
    schedule(agent, os.SCHED_IDLE)
    busy = [subprocess.Popen([sys.executable, "-c", "while True: pass"])
            for _ in range(os.cpu_count())]
    try:
        yield
    finally:
        for p in busy:
            p.kill()
            p.wait()


def kill_a_leader(c, rng):
    leader = c.wait_leader()
    with starved(leader):
        c.cloud.control("storm", count=2 * INSTANCES)
        time.sleep(rng.uniform(0.3, 1.0))
        leader.process.send(signal.SIGKILL)
    schedule(leader, os.SCHED_OTHER)  # who gets no processor does not die, either
    leader.kill()
    c.wait_leader(30)
    leader.start()
    wait_for("the killed agent to answer", 30, lambda: leader.get("/v2/agent"))


def drained(c):
    s = c.cloud.control("stats")
    return s["queue_ready"] + s["queue_in_flight"] + s["queue_delayed"] == 0


def compare(c):
    # What the dead had received comes again after its visibility time-out of 30 s.
    wait_for("the queue to be empty", 90, lambda: drained(c), 0.2)
    want = {i["containerInstanceArn"]: i["version"] for i in c.cloud.truth()["instances"]}
    for a in c.agents:
        def all_there():
            have = {i["containerInstanceArn"]: i["version"] for i in a.items("instances")}
            lost = [k for k, v in want.items() if have.get(k) != v]
            check(not lost, f"events of {len(lost)} instances are lost")
            return True
        wait_for(f"rows of agent {a.number} to equal the truth", 60, all_there, 0.2)


def test():
    rng = random.Random(os.environ.get("BLOX_SEED", "7"))
    args = ("--settings", '{"throttle":0,"event_duplicate":0.05,"event_delay_ms":50}')
    with Cluster(agents=5, instances=INSTANCES, cloud_args=args) as c:
        c.start().wait_ready(60)
        wait_for("the instances", 60, lambda: len(c.agents[0].items("instances")) == INSTANCES)
        wait_for("the queue to be empty", 90, lambda: drained(c), 0.2)
        for operation in ("DescribeContainerInstances", "ListContainerInstances", "ListTasks"):
            c.cloud.control("fault", operation=operation, mode="error", code="ServerException",
                            http_status=500)
        for _ in range(KILLS):
            kill_a_leader(c, rng)
            compare(c)
        check(c.cloud.control("stats").get("answer_shape_errors", 0) == 0, "the cloud's answers")


run(test)
