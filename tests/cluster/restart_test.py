#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Restart of any agent: its API answers from its store before AWS or peers answered; it stops
promptly; a data directory that is lost or damaged is rebuilt from peers."""
import glob
import os
import time

from harness import Cluster, check, run, wait_for


def restart(agent, seconds_down=0.0):
    begun = time.monotonic()
    agent.stop()
    stopped = time.monotonic() - begun
    time.sleep(seconds_down)
    begun = time.monotonic()
    agent.start()
    wait_for("the API", 20, lambda: agent.request("GET", "/health/live")[0] == 200, 0.01)
    rows = len(agent.items("instances"))
    return stopped, time.monotonic() - begun, rows


def damage(agent):
    for path in glob.glob(os.path.join(agent.dir, "data", "state", "*.mdb")):
        if os.path.basename(path).startswith("data"):
            size = os.path.getsize(path)
            with open(path, "r+b") as f:
                for at in range(0, min(size, 65536), 512):
                    f.seek(at)
                    f.write(b"\xa5" * 64)


def test():
    with Cluster(agents=3, instances=20) as c:
        c.start().wait_ready()
        wait_for("all rows everywhere", 30,
                 lambda: all(len(a.items("instances")) == 20 for a in c.agents))
        for agent in c.agents:
            stopped, answered, rows = restart(agent)
            print(f"agent {agent.number}: stopped in {stopped:.2f} s, answered in {answered:.2f} s "
                  f"with {rows} rows")
            check(rows == 20, f"{rows} rows right after the restart, 20 were stored")
            wait_for("ready again", 30, lambda: agent.state() == "ready")

        # AWS gone: the API still answers from the store.
        agent = c.agents[0]
        agent.stop()
        agent.settings.update({"aws.ecs_endpoint": "http://127.0.0.1:9",
                               "aws.sqs_endpoint": "http://127.0.0.1:9"})
        agent.start()
        wait_for("rows without AWS", 20, lambda: len(agent.items("instances")) == 20)
        agent.stop()
        agent.settings.clear()

        damage(agent)
        agent.start()
        wait_for("rows rebuilt from peers", 30, lambda: len(agent.items("instances")) == 20)
        check(any("quarantin" in str(line) for line in agent.log_lines()),
              "no log line says that the database was quarantined")
        check(glob.glob(os.path.join(agent.dir, "data", "state.quarantine-*")),
              "the damaged database is not kept beside")


run(test)
