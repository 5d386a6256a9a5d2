#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""An agent that has the key but is no container instance of the cluster is evicted after the grace,
by every agent, and told why; instances stay, also while the cloud is gone; where the agents'
own instances are not listed nobody is evicted. /metrics counts members."""
import time

from harness import Cluster, check, request, run, wait_for

STRANGER = "test-agent-4"


def states(agent):
    return {m["id"]: m["state"] for m in agent.items("members")}


def figure(agent, name):
    text = request(agent.api, "GET", "/metrics")[2]
    return [float(line.split()[-1]) for line in text.splitlines() if line.startswith(name)][0]


def evicted(c):
    own = c.agents[:3]
    wait_for("all to see all", 20, lambda: all(
        list(states(a).values()) == ["alive"] * 4 for a in own))
    wait_for("the eviction", 60, lambda: all(states(a)[STRANGER] == "failed" for a in own))
    why = own[1].get(f"/v2/members/{STRANGER}/why")
    check("no container instance" in why.get("evicted", ""), f"why: {why}")
    time.sleep(8)  # it goes on saying that it lives
    for a in own:
        check(states(a)[STRANGER] == "failed", "it came back")
        check(sum(s == "alive" for s in states(a).values()) == 3, f"others too: {states(a)}")
    wait_for("the figures", 20, lambda: figure(
        own[0], 'blox_gossip_members{state="alive"}') == 3)
    check(figure(own[0], "blox_gossip_bytes_total") > 0, "no bytes are counted")


def nobody_without_ecs(c):
    """The rows grow old: what is missing in them says nothing any more."""
    c.cloud.stop()
    c.agents[3].kill()
    time.sleep(8)
    for a in c.agents[:3]:
        check(sum(s == "alive" for s in states(a).values()) == 3, f"{states(a)}")


def main():
    with Cluster(agents=4, instances=3) as c:
        for a in c.agents:
            a.settings = {"gossip.admission_grace": "6s", "intake.reconcile_interval": "2s"}
        c.start()
        c.wait_leader()
        evicted(c)
        nobody_without_ecs(c)


if __name__ == "__main__":
    run(main)
