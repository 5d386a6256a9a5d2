#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""An agent at rest wakes for its probes only, a voter for heartbeats, too; it says little with each,
and still answers with what is true now."""
import time

from harness import Cluster, check, run, wait_for
from others import wakes

AGENTS = 8  # leader, four voters, a spare: two have no raft to do
SECONDS = 10
# 0.97 probes a second each way, with their answers, are 2.8; asking for the leader adds to that.
WAKES_MAX = 7
VOTER_WAKES_MAX = 12  # 4 heartbeats more
DATAGRAM_MAX = 47  # a ping is 47 bytes, an answer 35; 15 more with a header for who has not met


def sent(agent):
    g = agent.get("/v2/agent")["gossip"]
    return g["datagrams_sent"], g["bytes_sent"]


def alive(agent):
    return sum(m["state"] == "alive" for m in agent.items("members"))


def at_rest(agents):
    """Where doubts and elections of a busy machine are over for a while."""
    said = [sent(a) for a in agents]
    before = [(wakes(a), time.monotonic()) for a in agents]
    time.sleep(SECONDS)
    rates = sorted((wakes(a) - n) / (time.monotonic() - t) for a, (n, t) in zip(agents, before))
    print("wakes a second:", *rates)
    check(rates[1] < WAKES_MAX, f"agents without a vote wake {rates[:2]} times a second")
    check(rates[-2] < VOTER_WAKES_MAX, f"all but the leader wake {rates[:-1]} times a second")
    sizes = sorted((b - y) / (n - x) for (x, y), (n, b) in zip(said, map(sent, agents)))
    print("bytes a datagram:", *sizes)
    check(sizes[1] < DATAGRAM_MAX, f"datagrams at rest are of {sizes[:2]} bytes")
    return True


def test():
    with Cluster(agents=AGENTS, cloud=False) as c:
        c.start()
        wait_for("all to see all", 30, lambda: all(alive(a) == AGENTS for a in c.agents))
        time.sleep(15)  # voters are chosen; metadata that is not there is asked for less
        wait_for("rest", 150, lambda: at_rest(c.agents))
        # Nobody read anything for a while, and now something changes: the next answer has it.
        victim = c.agents.pop()
        name = victim.get("/v2/agent")["id"]
        victim.kill()
        wait_for("the failure", 20, lambda: any(
            line.get("event") == "member_failed" and line.get("member") == name
            for line in c.agents[0].log_lines()))
        states = {m["id"]: m["state"] for m in c.agents[0].items("members")}
        check(states[name] == "failed", "an old list of members was served")


run(test)
