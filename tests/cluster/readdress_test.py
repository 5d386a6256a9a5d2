#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Hosts that are given another address while their agents run, which were told none: as a lease
that changes does it (the new one comes, then the old one goes), and with nothing for some seconds
between. The others use the new one soon and for good. In network namespaces, by IPv4 and by IPv6.
Needs root; else it is skipped."""
import time

import netns
from harness import Cluster, check, run, wait_for
from netns import Net, NetAgent

AGENTS = 4
GAP_S = 4
QUIET_S = 7  # a member that is looked for where it is no more fails every 3 s
V6 = "fd00:213:79::"


def name(agent):
    return f"test-agent-{agent.number}"


class Family:
    def __init__(self, version):
        self.version = version
        self.bits = 24 if version == 4 else 64

    def host(self, number):
        return f"{netns.SUBNET}.{number}" if self.version == 4 else f"{V6}{number}"

    def told(self, number):
        return f"{self.host(number)}:7381" if self.version == 4 else f"[{self.host(number)}]:7381"

    def change(self, net, agent, verb, number):
        net.run(agent.host, "ip", "addr", verb, f"{self.host(number)}/{self.bits}", "dev", "eth0",
                *(["nodad"] if self.version == 6 and verb == "add" else []))


def all_alive(agents):
    return all([m["state"] for m in a.items("members")] == ["alive"] * AGENTS for a in agents)


def all_use(agents, about, address):
    """Each agent's view, its own too."""
    return all(m["addresses"] == [address] and m["address"] == address for a in agents
               for m in a.items("members") if m["id"] == name(about))


def spread(agent, count, size):
    out = agent.write("POST", "/v2/agent/propagate", {"count": count, "bytes": size,
                                                      "timeout_ms": 20000})
    check(out["all"] and not out["missing"], f"not all members had the records: {out}")


def doubts(agents, about):
    return [e for a in agents for e in a.log_lines() if e.get("member") == name(about)
            and e.get("event") in ("member_failed", "member_suspect", "member_degraded")]


def moves(c, family, agent, number, gap):
    start = time.monotonic()
    if gap == 0:
        family.change(c.net, agent, "add", number)
    family.change(c.net, agent, "del", agent.number_of_host)
    time.sleep(gap)
    if gap > 0:
        family.change(c.net, agent, "add", number)
    wait_for(f"all use {family.told(number)}", 30,
             lambda: all_use(c.agents, agent, family.told(number)) and all_alive(c.agents))
    print(f"all use {family.told(number)} after {time.monotonic() - start - gap:.1f} s")
    agent.number_of_host = number
    for a in (agent, next(a for a in c.agents if a is not agent)):
        spread(a, 20, 300)
        spread(a, 400, 1000)  # more than datagrams: by stream
    time.sleep(2)  # what was on its way
    before = doubts(c.agents, agent)
    time.sleep(QUIET_S)
    after = doubts(c.agents, agent)
    check(len(after) == len(before), f"still looked for elsewhere: {after[len(before):]}")


def cluster(version):
    family = Family(version)
    with Net(["cloud"] + [f"a{i + 1}" for i in range(AGENTS)]) as net, \
            Cluster(agents=0, name="readdress", cloud=False) as c:
        c.net = net
        c.agents = [NetAgent(c, i + 1) for i in range(AGENTS)]
        for a in c.agents:
            a.number_of_host = a.number + 10
            net.run(a.host, "ip", "addr", "flush", "dev", "eth0")
            # Else the second address of a subnet goes with its first.
            net.run(a.host, "sysctl", "-qw", "net.ipv4.conf.eth0.promote_secondaries=1")
            family.change(net, a, "add", a.number_of_host)
            a.settings = {"gossip.bind": "[::]:7381", "gossip.advertise": "",
                          "gossip.join": ",".join(family.told(n) for n in (11, 12))}
        c.start()
        wait_for("all members", 30, lambda: all_alive(c.agents))
        moves(c, family, c.agents[-1], 34, 0)
        moves(c, family, c.agents[0], 31, GAP_S)  # nobody asked this one in


def test():
    for version in (4, 6):
        print(f"== IPv{version}", flush=True)
        cluster(version)


netns.skip_unless_possible()
run(test)
