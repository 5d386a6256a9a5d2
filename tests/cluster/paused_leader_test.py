#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The leader is paused, as with its whole machine, while a write and a read of the leader's rows are on
their way to it: both are answered once another one leads, and not only when the former one's answer
has been waited for."""
import signal
import threading
import time

from harness import Cluster, Lateness, check, run, wait_for

PATIENCE = 6  # with one attempt at a leader


def test():
    late = Lateness()
    with Cluster(agents=3, instances=3) as c:
        c.start().wait_ready()
        leader = c.wait_leader()
        other = next(a for a in c.agents if a is not leader)
        took = {}

        def ask(what, *request):
            begun = time.monotonic()
            status = other.request(*request)[0]
            took[what] = time.monotonic() - begun
            check(status in (200, 201), f"{what}: {status}")

        leader.process.send(signal.SIGSTOP)
        asking = [threading.Thread(target=ask, args=a) for a in (
            ("write", "POST", "/v2/environments",
             {"name": "e", "cluster": c.name, "taskDefinition": "daemon:1"}),
            ("read", "GET", "/v2/instances?consistency=leader"))]
        for thread in asking:
            thread.start()
        for thread in asking:
            thread.join()
        leader.process.send(signal.SIGCONT)
        print(took)
        check(len(took) == 2, "one was refused")
        check(max(took.values()) < late.allow(PATIENCE - 0.5), f"waited for who does not lead: {took}")
        wait_for("all to have it", 20, lambda: all(
            a.state() == "ready" and len(a.items("environments")) == 1 for a in c.agents))


run(test)
