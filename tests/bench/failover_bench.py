#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""SIGKILL of the leader, BLOX_KILLS times (100), three voters: until another may act (it has committed
an entry of its term and holds the lease), until a client's write is acknowledged, until an
instance that registered at the moment of the kill is a row of a survivor (intake goes on) and until
its daemon was started (scheduling goes on). BLOX_AGENTS=5 has two spares beside the voters.
BLOX_LOAD=N keeps N processes busy meanwhile."""
import http.client
import os
import subprocess
import sys
import threading
import time

from figures import put_spread
from harness import Cluster, Failure, wait_for

KILLS = int(os.environ.get("BLOX_KILLS", "100"))
AGENTS = int(os.environ.get("BLOX_AGENTS", "3"))
LOAD = int(os.environ.get("BLOX_LOAD", "0"))
SECONDS = float(os.environ.get("BLOX_SECONDS", "10000"))


def may_act(agents):
    for a in agents:
        try:
            if a.get("/v2/leader").get("may_act"):
                return a
        except (OSError, Failure, http.client.HTTPException):
            pass
    return None


class Watch(threading.Thread):
    """Calls probe() until it is true; when that was."""

    def __init__(self, probe, every=0.005):
        super().__init__(daemon=True)
        self.probe, self.every, self.at = probe, every, None
        self.start()

    def run(self):
        end = time.monotonic() + 60
        while time.monotonic() < end:
            try:
                if self.probe():
                    self.at = time.monotonic()
                    return
            except (OSError, Failure, http.client.HTTPException, ValueError):
                pass
            time.sleep(self.every)

    def took(self, start, what):
        self.join()
        if self.at is None:
            raise Failure(f"waited 60 s in vain for {what}")
        return (self.at - start) * 1000


def kill_once(c, n, figures):
    wait_for("three voters and all ready", 60, lambda: (
        len((may_act(c.agents) or c.agents[0]).get("/v2/leader")["voters"]) == 3 and
        all(a.state() == "ready" for a in c.agents)))
    time.sleep(0.5)
    leader = wait_for("a leader", 30, lambda: may_act(c.agents))
    rest = [a for a in c.agents if a is not leader]
    key = os.urandom(8).hex()
    start = time.monotonic()
    leader.kill()
    watches = {
        "may_act": Watch(lambda: may_act(rest)),
        "write_acknowledged": Watch(lambda: rest[0].request(
            "POST", "/v2/environments", {"name": f"w{n}", "cluster": c.name,
                                         "taskDefinition": "daemon:1"},
            {"Idempotency-Key": key})[0] < 300)}
    arn = c.cloud.control("add-instances", count=1)["instances"][0]["arn"]
    path = "/v2/instances/" + arn.split("/")[-1]
    watches["event_taken_in"] = Watch(lambda: rest[0].request("GET", path)[0] == 200)
    watches["daemon_started"] = Watch(lambda: arn in c.cloud.running("daemon:d"), 0.02)
    for what, watch in watches.items():
        figures.setdefault(what, []).append(watch.took(start, what))
    leader.start()
    wait_for("the killed agent back", 60, lambda: leader.state() == "ready")


def main():
    figures = {}
    end = time.monotonic() + SECONDS
    busy = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(LOAD)]
    try:
        with Cluster(agents=AGENTS, instances=AGENTS) as c:
            c.start().wait_ready(60)
            c.agents[0].write("POST", "/v2/environments", {
                "name": "d", "cluster": c.name, "taskDefinition": "daemon:1"})
            c.agents[0].write("POST", "/v2/environments/d/deployments", {})
            for n in range(KILLS):
                if time.monotonic() < end:
                    kill_once(c, n, figures)
    finally:
        for p in busy:
            p.kill()
    for what, values in figures.items():
        put_spread("failover", what, values, "ms")
    return 0


sys.exit(main())
