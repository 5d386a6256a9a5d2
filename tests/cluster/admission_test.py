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


def is_evicted(agent, member):
    why = agent.get(f"/v2/members/{member}/why")
    return "no container instance" in why.get("evicted", "") and why["state"] == "failed"


def was_alive(agent, member):
    return any(line.get("event") == "member_alive" and line.get("member") == member
               for line in agent.log_lines())


def evicted(c):
    own = c.agents[:3]
    # One that came late may hear of the stranger only when others evicted it.
    wait_for("all to know all", 60, lambda: all(len(states(a)) == 4 for a in own))
    check(any(was_alive(a, STRANGER) for a in own), "nobody let it in before")
    wait_for("the eviction", 60, lambda: all(is_evicted(a, STRANGER) for a in own))
    time.sleep(8)  # it goes on saying that it lives
    for a in own:
        check(is_evicted(a, STRANGER), "it came back")
    nobody_else(c)
    wait_for("all instances alive, and the figures", 60, lambda: all(
        sum(s == "alive" for s in states(a).values()) == 3 for a in own) and figure(
            own[0], 'blox_gossip_members{state="alive"}') == 3)
    check(figure(own[0], "blox_gossip_bytes_total") > 0, "no bytes are counted")


def nobody_else(c):
    """A busy machine may have one suspected; that is not eviction."""
    for a in c.agents[:3]:
        also = [m for m in states(a) if m != STRANGER and is_evicted(a, m)]
        check(not also, f"agent {a.number} evicted {also}")


def nobody_without_ecs(c):
    """The rows grow old: what is missing in them says nothing any more."""
    c.cloud.stop()
    c.agents[3].kill()
    time.sleep(8)
    nobody_else(c)


def nobody_where_none_is_listed(c):
    wait_for("both to know both", 60, lambda: all(len(states(a)) == 2 for a in c.agents))
    time.sleep(14)  # more than the grace and two comparisons
    for a in c.agents:
        out = [m for m in states(a) if is_evicted(a, m)]
        check(not out, f"agent {a.number}, which is no instance itself, evicted {out}")


def begin(c, ids=None):
    for a in c.agents:
        a.settings = {"gossip.admission_grace": "6s", "intake.reconcile_interval": "2s"}
        if ids:
            a.settings["agent.id"] = f"{ids}{a.number}"
    c.start()
    c.wait_leader()


def main():
    with Cluster(agents=4, instances=3) as c:
        begin(c)
        evicted(c)
        nobody_without_ecs(c)
    with Cluster(agents=2, instances=3) as c:
        begin(c, "elsewhere-")
        nobody_where_none_is_listed(c)


if __name__ == "__main__":
    run(main)
