#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""An agent in a cluster of 500 does at rest what it does in a cluster of eight (rest_test.py), and
says what each of the others says; it learns of a death among them, and they of its own."""
import time

from harness import Cluster, check, run, wait_for
from others import Others, alive, wakes

MEMBERS = 500
SECONDS = 10
WAKES_MAX = 7  # as rest_test.py


def at_rest(others, agent):
    g, all_before = agent.get("/v2/agent")["gossip"], others.ask("stats")
    woke, begun = wakes(agent), time.monotonic()
    time.sleep(SECONDS)
    over = time.monotonic() - begun
    woke = (wakes(agent) - woke) / over
    sent = agent.get("/v2/agent")["gossip"]["datagrams_sent"] - g["datagrams_sent"]
    after = others.ask("stats")
    each = (after["packets"] - all_before["packets"]) / others.count
    print(f"{woke:.2f} wakes a second; {sent} datagrams in {over:.0f} s, the others {each:.1f} each")
    check(woke < WAKES_MAX, f"it wakes {woke} times a second")
    check(sent < 1.4 * each + 5 and each < 1.4 * sent + 5, "not as much as the others send")
    check(after["live_least"] == after["live_most"] == MEMBERS, f"not all are alive: {after}")
    # It asked one of them: from then on pings say that all hold the same rows.
    compared = [a["compared"] for a in after["agents"]]
    check(compared == [a["compared"] for a in all_before["agents"]], "rows were compared at rest")
    return True


def asks(others, agent):
    return others.ask("stats")["agents"][others.place[agent.id] - others.count]["asks"]


def test():
    with Cluster(agents=2, cloud=False) as c:
        leader, agent = c.agents
        others = Others(c, c.agents, MEMBERS)
        try:
            leader.settings["raft.expect"] = "1"
            agent.settings["agent.role"] = "member"
            leader.start()
            wait_for("a leader", 60, leader.leading)
            agent.start()
            wait_for("both to see all", 60, lambda: alive(agent) == MEMBERS and
                     alive(leader) == MEMBERS, 0.5)
            wait_for("it to know who leads", 60, lambda: agent.get("/v2/leader")["leader"] ==
                     leader.id)
            time.sleep(10)
            asked = asks(others, agent)
            wait_for("rest", 150, lambda: at_rest(others, agent))
            # Who leads it asks any of them: the leader would do little else than answer 500.
            wait_for("it to ask another who leads", 130, lambda: asks(others, agent) > asked, 1)
            check(sum(m["state"] == "alive" for m in agent.items("members")) == MEMBERS, "members")

            dead = others.ask("vanish", 77)
            wait_for("the agent to know", 30, lambda: any(
                line.get("event") == "member_failed" and line["member"] == dead["id"]
                for line in agent.log_lines()))
            others.watch(others.place[agent.id])
            agent.kill()
            wait_for("all others to know", 30, lambda: len(others.ask("seen")["failed"]) ==
                     others.count - 1)
            check(sum(others.ask("stats")["refused"]) < 20, "packets of the agents did not open")
        finally:
            others.end()


run(test)
