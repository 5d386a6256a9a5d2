#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Test records reach every member while their run lasts: runs of twelve agents at once, more than
gossip remembers; a member whose network is cut during a run, one that was taken for dead when it
began, and one to which large packets do not pass any more. Needs root; else it is skipped."""
import threading
import time

import netns
from harness import Cluster, check, run, wait_for
from netns import Net, NetAgent

AGENTS = 12
MOST = {"count": 1000, "bytes": 200, "timeout_ms": 30000}


def applied(agent):
    return [line["key"] for line in agent.log_lines() if line.get("event") == "record_applied"]


def all_alive(agents):
    return all([m["state"] for m in a.items("members")] == ["alive"] * AGENTS for a in agents)


class Run(threading.Thread):
    """A measurement that goes on meanwhile."""

    def __init__(self, agent, body):
        super().__init__(daemon=True)
        self.agent, self.body, self.out = agent, body, None
        self.start()

    def run(self):
        self.out = self.agent.write("POST", "/v2/agent/propagate", self.body)

    def end(self):
        self.join()
        check(self.out is not None, "the run was not answered")
        return self.out


def all_have(agents, total):
    def same():
        for a in agents:
            keys = applied(a)
            check(len(set(keys)) == len(keys), f"{a.host} applied a record twice")
            check(len(keys) == total, f"{a.host} has {len(keys)} of {total} records")
        return True
    wait_for(f"{total} records at all", 20, same)


def at_once(agents):
    runs = [Run(a, MOST) for a in agents]
    outs = [r.end() for r in runs]
    print(f"twelve at once: last {max(o['last_ms'] for o in outs)} ms")
    check(all(o["all"] for o in outs), f"missing: {[o['missing'] for o in outs]}")
    return len(agents) * MOST["count"]


def cut(net, agents, body):
    """Three seconds without a network, from before the run on."""
    victim = agents[3]
    others = {a.host for a in agents if a is not victim}
    net.part({victim.host}, others)
    measured = Run(agents[0], body)
    time.sleep(3)
    net.heal()
    out = measured.end()
    check(out["all"], f"missing after a cut of 3 s: {out['missing']}")
    print(f"cut for 3 s: last {out['last_ms']} ms")
    wait_for("all alive", 30, lambda: all_alive(agents))
    return body["count"]


def away(net, agents, body):
    """Taken for dead when the run begins, so that the answer does not wait for it; back in time."""
    victim = agents[4]
    net.part({victim.host}, {a.host for a in agents if a is not victim})
    wait_for("the failure", 30, lambda: all(
        m["state"] == "failed" for a in agents if a is not victim
        for m in a.items("members") if m["id"].endswith(f"-{victim.number}")))
    out = agents[0].write("POST", "/v2/agent/propagate", body)
    check(out["all"] and len(out["members"]) == AGENTS - 1, f"with one away: {out}")
    time.sleep(3)  # nobody tells of the records by himself any more
    net.heal()
    wait_for("all alive", 30, lambda: all_alive(agents))
    return body["count"]


def hole(net, agents, body):
    """What is longer than 1,300 bytes vanishes on the way to one of them."""
    victim = agents[5]
    for a in agents:  # segments are dropped for their size on the wire, not before they are cut
        net.run(a.host, "ip", "link", "set", "eth0", "gso_max_segs", "1")
    net.run("switch", "ip", "link", "set", net.port(victim.host), "mtu", "1300")
    out = agents[0].write("POST", "/v2/agent/propagate", body)
    check(out["all"], f"missing behind the hole: {out['missing']}")
    print(f"behind a hole: last {out['last_ms']} ms")
    return body["count"]


def test():
    with Net(["cloud"] + [f"a{i + 1}" for i in range(AGENTS)]) as net, \
            Cluster(agents=0, name="lacking", cloud=False) as c:
        c.net = net
        c.agents = [NetAgent(c, i + 1) for i in range(AGENTS)]
        c.start()
        wait_for("all members", 30, lambda: all_alive(c.agents))
        total = 0
        for _ in range(3):
            total += at_once(c.agents)
            all_have(c.agents, total)
        for body in ({"count": 100, "bytes": 300, "timeout_ms": 30000},
                     {"count": 100, "bytes": 3000, "timeout_ms": 30000}):
            total += cut(net, c.agents, body)
            all_have(c.agents, total)
            total += away(net, c.agents, body)
            all_have(c.agents, total)
        total += hole(net, c.agents, {"count": 100, "bytes": 3000, "timeout_ms": 30000})
        all_have(c.agents, total)


netns.skip_unless_possible()
run(test)
