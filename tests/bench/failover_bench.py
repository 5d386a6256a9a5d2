#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""SIGKILL of the leader, 20 times, five agents on one machine: until another may act (it has
committed an entry of its term and holds the lease), and until a client's write is acknowledged."""
import http.client
import os
import sys
import threading
import time

from figures import put_spread
from harness import Cluster, Failure, wait_for

KILLS = int(os.environ.get("BLOX_KILLS", "20"))


def may_act(agents):
    for a in agents:
        try:
            if a.get("/v2/leader").get("may_act"):
                return a
        except (OSError, Failure, http.client.HTTPException):
            pass
    return None


def main():
    act, write = [], []
    with Cluster(agents=5, instances=5) as c:
        c.start().wait_ready(60)
        c.agents[0].write("POST", "/v2/environments", {
            "name": "d", "cluster": c.name, "taskDefinition": "daemon:1"})
        for n in range(KILLS):
            wait_for("three voters and all ready", 60, lambda: (
                len((may_act(c.agents) or c.agents[0]).get("/v2/leader")["voters"]) == 3 and
                all(a.state() == "ready" for a in c.agents)))
            time.sleep(2)
            leader = wait_for("a leader", 30, lambda: may_act(c.agents))
            rest = [a for a in c.agents if a is not leader]
            done = {}

            def keep_writing(agent, start, key):
                while time.monotonic() < start + 60:
                    try:
                        status, _, _ = agent.request(
                            "POST", "/v2/environments/d/deployments",
                            {"taskDefinition": f"daemon:{1 + n % 2}"}, {"Idempotency-Key": key})
                        if status < 300:
                            done["at"] = time.monotonic()
                            return
                    except (OSError, http.client.HTTPException):
                        pass
                    time.sleep(0.005)

            start = time.monotonic()
            leader.kill()
            t = threading.Thread(target=keep_writing, args=(rest[0], start, os.urandom(8).hex()))
            t.start()
            wait_for("another leader", 60, lambda: may_act(rest), 0.005)
            act.append((time.monotonic() - start) * 1000)
            t.join()
            if "at" not in done:
                raise Failure("no write was acknowledged within 60 s")
            write.append((done["at"] - start) * 1000)
            leader.start()
            wait_for("the killed agent back", 60, lambda: leader.state() == "ready")
    put_spread("failover", "may_act", act, "ms")
    put_spread("failover", "write_acknowledged", write, "ms")
    return 0


sys.exit(main())
