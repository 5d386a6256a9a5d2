#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Paths that take more or less than the usual, in network namespaces: jumbo frames are used on the
paths that were proven to take them, smaller datagrams where full ones vanish without a word, and all
records arrive while a path changes under way. Needs root; else it is skipped."""
import contextlib
import os
import socket
import struct
import threading

import netns
from harness import Cluster, check, run, wait_for
from netns import Net, NetAgent

AGENTS = 3
USUAL, JUMBO, NARROW = 1500, 9001, 1300
ETH_P_IP = 0x0800


class Wire:
    """The longest IP packet of UDP that arrives at a host, and whether any may be fragmented."""

    def __init__(self, net, host):
        with net.inside(host):
            self.socket = socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM, socket.htons(ETH_P_IP))
        self.longest, self.fragments = 0, 0
        self.thread = threading.Thread(target=self.look, daemon=True)
        self.thread.start()

    def look(self):
        with contextlib.suppress(OSError):
            while True:
                packet = self.socket.recv(65536)
                if not packet:
                    return
                if packet[9] != socket.IPPROTO_UDP:
                    continue
                self.longest = max(self.longest, len(packet))
                flags = struct.unpack("!H", packet[6:8])[0]
                self.fragments += flags & 0x4000 == 0

    def close(self):
        with contextlib.suppress(OSError):
            self.socket.shutdown(socket.SHUT_RDWR)
        self.socket.close()


def set_mtu(net, host, mtu, near=True, far=True):
    """near: what the host sends itself; far: what is sent to it. A veth drops what is longer than
    its other end takes and tells nobody."""
    if near:
        net.run(host, "ip", "link", "set", "eth0", "mtu", str(mtu))
    if far:
        net.run("switch", "ip", "link", "set", net.port(host), "mtu", str(mtu))


def metric(agent, name):
    for line in agent.get("/metrics").splitlines():
        if line.startswith(name + " "):
            return float(line.split()[1])
    raise AssertionError(f"no {name}")


def spread(agent, count, size):
    out = agent.write("POST", "/v2/agent/propagate", {"count": count, "bytes": size,
                                                      "timeout_ms": 20000})
    check(out["all"] and not out["missing"], f"not all members had the records: {out}")


def jumbo(agents):
    return [metric(a, "blox_gossip_jumbo_datagrams_total") for a in agents]


def spread_until(what, agent, done):
    """Records arrive in each round; in one of them the paths are known."""
    def once():
        spread(agent, 8, 1000)  # few enough for datagrams
        return done()
    wait_for(what, 60, once)


def grow(net, agents, wire):
    """All interfaces take jumbo frames: after some traffic they are used, and not fragmented."""
    check(jumbo(agents) == [0] * AGENTS and wire.longest <= 1448,
          f"before: {jumbo(agents)}, {wire.longest}")
    for a in agents:
        set_mtu(net, a.host, JUMBO)
    net.run("switch", "ip", "link", "set", "br0", "mtu", str(JUMBO))
    spread_until("jumbo frames", agents[0], lambda: jumbo(agents)[0] > 5)
    check(wire.longest == 8952 + 28, f"the longest packet: {wire.longest}")
    print(f"jumbo datagrams: {jumbo(agents)}, the longest IP packet {wire.longest}")


def hole(net, agents):
    """What is sent to the last agent vanishes above 1,300 bytes, silently, whoever sends it."""
    set_mtu(net, agents[-1].host, NARROW, near=True, far=False)
    wire = Wire(net, agents[-1].host)
    for _ in range(3):
        for a in agents:
            spread(a, 20, 300)
    spread(agents[1], 1000, 250)
    check(1000 < wire.longest <= NARROW, f"{wire.longest} bytes passed")
    print(f"through the hole: {wire.longest} bytes at most")
    wire.close()


def test():
    with Net(["cloud"] + [f"a{i + 1}" for i in range(AGENTS)]) as net, \
            Cluster(agents=0, name="mtu", cloud=False) as c:
        c.net = net
        c.agents = [NetAgent(c, i + 1) for i in range(AGENTS)]
        for a in c.agents:
            set_mtu(net, a.host, USUAL)
            net.run(a.host, "sysctl", "-qw", "net.ipv4.tcp_mtu_probing=1")  # as operations.md says
        c.start()
        wait_for("all members", 30, lambda: all(
            [m["state"] for m in a.items("members")] == ["alive"] * AGENTS for a in c.agents))
        wire = Wire(net, "a2")
        spread(c.agents[0], 200, 1000)
        grow(net, c.agents, wire)
        hole(net, c.agents)
        check(wire.fragments == 0, f"{wire.fragments} packets that may be fragmented")
        wire.close()
        states = [m["state"] for a in c.agents for m in a.items("members")]
        check(set(states) == {"alive"}, f"members suffered: {states}")


netns.skip_unless_possible()
run(test)
