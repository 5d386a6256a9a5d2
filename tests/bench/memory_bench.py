#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Anonymous memory of a leader where all tasks are daemons': BLOX_DAEMONS of them (10), each on
BLOX_INSTANCES instances (5,000). Once when it has started them all, after a comparison with ECS, and
once more when it was killed and has read them back from its store. One agent beside the local cloud."""
import os
import sys
import time

from figures import put
from harness import Cluster, wait_for

INSTANCES = int(os.environ.get("BLOX_INSTANCES", "5000"))
DAEMONS = int(os.environ.get("BLOX_DAEMONS", "10"))
COMPARE_S = 30


def anonymous_mib(agent):
    with open(f"/proc/{agent.process.p.pid}/smaps_rollup", encoding="ascii") as f:
        return next(int(line.split()[1]) for line in f if line.startswith("Anonymous:")) / 1024


def next_comparison(agent):
    def ended_ms():
        return agent.get("/v2/agent")["intake"]["reconcile"]["last_ok_unix_ms"]
    last = ended_ms()
    wait_for("a comparison with ECS", 3 * COMPARE_S + 120, lambda: ended_ms() > last, 0.5)
    time.sleep(10)  # until the look for stopped tasks has ended, too, and its memory is given back


def measure(agent, what):
    next_comparison(agent)
    put("memory", f"anonymous memory, {what}", anonymous_mib(agent), "MiB", instances=INSTANCES,
        daemons=INSTANCES * DAEMONS, load=os.getloadavg()[0])


def deploy(agent):
    for n in range(DAEMONS):
        agent.write("POST", "/v2/environments",
                    {"name": f"d{n}", "cluster": "prod", "taskDefinition": "daemon:1"})
        agent.write("POST", f"/v2/environments/d{n}/deployments", {})
    wait_for("all tasks", 1200, lambda: DAEMONS == sum(
        d["status"] == "completed" for d in agent.items("deployments")), 2)


def main():
    with Cluster(agents=1, name="prod", instances=INSTANCES, cloud_args=(
            "--settings", '{"throttle":0,"event_duplicate":0,"event_delay_ms":0}')) as c:
        agent = c.agents[0]
        agent.settings["raft.expect"] = "1"
        agent.settings["intake.reconcile_interval"] = f"{COMPARE_S}s"
        agent.start()
        wait_for("the instances", 120, lambda: len(agent.items("instances")) == INSTANCES, 1)
        measure(agent, "no tasks")
        deploy(agent)
        measure(agent, "all started")
        agent.kill()
        agent.start()
        wait_for("it to lead", 60, agent.leading, 0.5)
        measure(agent, "all read back")
    return 0


sys.exit(main())
