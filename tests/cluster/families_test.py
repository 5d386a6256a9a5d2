#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""IPv4 and IPv6, in network namespaces: members of two addresses, of which the network of one goes
and comes back; among them one whose host has no IPv6, and one whose kernel keeps the families apart
(bindv6only). Then a cluster that has IPv6 only. Needs root; else it is skipped."""
import json
import time

import netns
from harness import Cluster, check, run, wait_for
from netns import NOBODY, Net, NetAgent

AGENTS = 8
DARK = 3         # index of the agent that loses networks
PREFIX = "fd00:213:77::"


def name(agent):
    return f"test-agent-{agent.number}"


def v6(agent):
    return f"{PREFIX}{agent.number}"


def addresses(agent):
    return [f"{agent.address}:7381", f"[{v6(agent)}]:7381"]


def give_v6(net, agent):
    net.run(agent.host, "ip", "addr", "add", f"{v6(agent)}/64", "dev", "eth0", "nodad")


def neighbours_v6(net, agents, dark, hardware):
    """What the others send to one by IPv6, and it to them, goes to these hardware addresses."""
    for a in agents:
        if a is not dark:
            net.run(a.host, "ip", "-6", "neigh", "replace", v6(dark), "lladdr",
                    hardware or net.hardware(dark.host), "dev", "eth0", "nud", "permanent")
            net.run(dark.host, "ip", "-6", "neigh", "replace", v6(a), "lladdr",
                    hardware or net.hardware(a.host), "dev", "eth0", "nud", "permanent")


def spread(agent, count=20, size=300):
    out = agent.write("POST", "/v2/agent/propagate", {"count": count, "bytes": size,
                                                      "timeout_ms": 20000})
    check(out["all"] and not out["missing"], f"not all members had the records: {out}")


def events(agents, name):
    n = 0
    for a in agents:
        with open(a.log, encoding="utf-8", errors="replace") as f:
            for line in f:
                try:
                    n += json.loads(line).get("event") == name
                except ValueError:
                    pass
    return n


def used(viewer, about):
    return next(m["address"] for m in viewer.items("members") if m["id"] == name(about))


def all_alive(agents):
    """Each agent of the cluster in the eyes of each."""
    count = len(agents[0].cluster.agents)
    return all([m["state"] for m in a.items("members")] == ["alive"] * count for a in agents)


def all_use(agents, dark, address):
    return all(used(a, dark) == address for a in agents if a is not dark)


def loses(net, agents, dark, how, left):
    """All use the address that is left, records travel both ways, and nobody took it for dead."""
    start = time.monotonic()
    how()
    wait_for(f"{dark.host} at {left}", 30, lambda: all_use(agents, dark, left))
    print(f"all use {left} after {time.monotonic() - start:.1f} s")
    for a in (agents[0], dark, agents[-1]):
        spread(a)
    spread(agents[0], 400, 1000)  # more than datagrams: by stream
    wait_for("all alive", 30, lambda: all_alive(agents))


def two_families():
    with Net(["cloud"] + [f"a{i + 1}" for i in range(AGENTS)]) as net, \
            Cluster(agents=0, name="families", cloud=False) as c:
        c.net = net
        c.agents = [NetAgent(c, i + 1) for i in range(AGENTS)]
        without, apart, dark = c.agents[0], c.agents[1], c.agents[DARK]
        for a in c.agents:
            if a is without:
                net.run(a.host, "sysctl", "-qw", "net.ipv6.conf.all.disable_ipv6=1")
            else:
                give_v6(net, a)
            a.settings = {"gossip.bind": "[::]:7381",
                          "gossip.advertise": ", ".join(addresses(a)[:1 if a is without else 2])}
        net.run(apart.host, "sysctl", "-qw", "net.ipv6.bindv6only=1")
        c.start()
        wait_for("all members", 30, lambda: all_alive(c.agents))
        told = next(m for m in c.agents[0].items("members") if m["id"] == name(dark))
        check(told["addresses"] == addresses(dark), f"{told}")
        spread(c.agents[0])
        both = [a for a in c.agents if a is not without]
        others = {a.host for a in both if a is not dark}

        # IPv4 vanishes, but not from the host that has nothing else.
        loses(net, both, dark, lambda: net.part({dark.host}, others), addresses(dark)[1])
        net.heal()
        spread(c.agents[0])
        time.sleep(10)  # a preference stays so long
        loses(net, both, dark, lambda: neighbours_v6(net, both, dark, NOBODY), addresses(dark)[0])
        neighbours_v6(net, both, dark, None)
        spread(dark)
        # The host itself has no IPv4 any more: its kernel says so, the agent without IPv6 is lost.
        time.sleep(10)
        net.run(dark.host, "ip", "addr", "del", f"{dark.address}/24", "dev", "eth0")
        wait_for("IPv6 alone", 30, lambda: all_use(both, dark, addresses(dark)[1]))
        net.run(dark.host, "ip", "addr", "add", f"{dark.address}/24", "dev", "eth0")
        wait_for("all alive", 30, lambda: all_alive(c.agents))
        spread(dark)
        failed = events(c.agents, "member_failed")
        print(f"suspected {events(c.agents, 'member_suspect')} times, failed {failed} times")
        check(failed == 0, "a member with a network left was taken for dead")


def ipv6_alone():
    with Net(["cloud", "a1", "a2", "a3"]) as net, \
            Cluster(agents=0, name="six", cloud=False) as c:
        c.net = net
        c.agents = [NetAgent(c, i + 1) for i in range(3)]
        for a in c.agents:
            net.run(a.host, "ip", "addr", "flush", "dev", "eth0")
            give_v6(net, a)
            a.settings = {"gossip.bind": "[::]:7381", "gossip.advertise": "",
                          "gossip.join": f"[{v6(c.agents[0])}]:7381"}
        c.start()
        wait_for("all members", 30, lambda: all_alive(c.agents))
        wait_for("a leader", 30, c.leader)
        for a in c.agents:
            for m in a.items("members"):
                check(m["addresses"] == [f"[{PREFIX}{m['id'][-1]}]:7381"], f"{m}")
            spread(a)
        spread(c.agents[2], 400, 1000)


def test():
    two_families()
    ipv6_alone()


netns.skip_unless_possible()
run(test)
