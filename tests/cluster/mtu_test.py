#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Paths that take more or less than the usual, in network namespaces, by IPv4 and by IPv6: jumbo
frames are used on the paths that were proven to take them, smaller datagrams where full ones vanish
without a word, and all records arrive while a path changes under way. Needs root; else it is
skipped."""
import contextlib
import os
import socket
import struct
import threading

import netns
from harness import Cluster, check, run, wait_for
from netns import Net, NetAgent

AGENTS = 3
USUAL, JUMBO, NARROW = 1500, 9001, 1280  # the least that IPv6 allows
PREFIX = "fd00:213:78::"


class Family:
    """Of IP: what a datagram of gossip has before it, and how it is told in a packet."""

    def __init__(self, version):
        self.version = version
        self.ether = 0x0800 if version == 4 else 0x86dd
        self.head = 28 if version == 4 else 48  # with UDP's 8
        self.protocol = 9 if version == 4 else 6  # the byte of the header that says what follows

    def may_be_fragmented(self, packet):  # in IPv6 a header of its own says so
        return self.version == 4 and struct.unpack("!H", packet[6:8])[0] & 0x4000 == 0

    def is_fragment(self, packet):
        return self.version == 6 and packet[6] == socket.IPPROTO_FRAGMENT


class Wire:
    """The longest IP packet of UDP that arrives at a host, and whether any may be fragmented."""

    def __init__(self, net, host, family):
        self.family = family
        with net.inside(host):
            self.socket = socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM,
                                        socket.htons(family.ether))
        self.longest, self.fragments = 0, 0
        self.thread = threading.Thread(target=self.look, daemon=True)
        self.thread.start()

    def look(self):
        with contextlib.suppress(OSError):
            while True:
                packet = self.socket.recv(65536)
                if not packet:
                    return
                self.fragments += self.family.is_fragment(packet)
                if packet[self.family.protocol] != socket.IPPROTO_UDP:
                    continue
                self.longest = max(self.longest, len(packet))
                self.fragments += self.family.may_be_fragmented(packet)

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
    check(wire.longest == 8952 + wire.family.head, f"the longest packet: {wire.longest}")
    print(f"jumbo datagrams: {jumbo(agents)}, the longest IP packet {wire.longest}")


def hole(net, agents, family):
    """What is sent to the last agent vanishes above 1,280 bytes, silently, whoever sends it."""
    set_mtu(net, agents[-1].host, NARROW, near=True, far=False)
    wire = Wire(net, agents[-1].host, family)
    for _ in range(3):
        for a in agents:
            spread(a, 20, 300)
    spread(agents[1], 1000, 250)
    check(1000 < wire.longest <= NARROW, f"{wire.longest} bytes passed")
    print(f"through the hole: {wire.longest} bytes at most")
    wire.close()


def hole_in_streams(net, agents):
    """The same on the way from and to the first agent, whose own interface takes more: streams stall
    on full segments, and go on with smaller ones. Records of this size go by stream."""
    for a in agents:
        net.run(a.host, "sysctl", "-qw", "net.ipv4.tcp_mtu_probing=0")
        net.run(a.host, "ip", "link", "set", "eth0", "gso_max_segs", "1")  # passes whole, if larger
        set_mtu(net, a.host, USUAL)
    net.run("switch", "ip", "link", "set", net.port(agents[0].host), "mtu", str(NARROW))

    def passes(agent):
        return agent.write("POST", "/v2/agent/propagate",
                           {"count": 2, "bytes": 60000, "timeout_ms": 5000})["all"]
    for a in agents[:2]:
        wait_for(f"large records from agent {a.number}", 60, lambda a=a: passes(a))


def by_ipv6(net, agents):
    for a in agents:
        net.run(a.host, "ip", "addr", "flush", "dev", "eth0")
        net.run(a.host, "ip", "addr", "add", f"{PREFIX}{a.number}/64", "dev", "eth0", "nodad")
        a.settings = {"gossip.bind": "[::]:7381", "gossip.advertise": f"[{PREFIX}{a.number}]:7381",
                      "gossip.join": f"[{PREFIX}1]:7381,[{PREFIX}2]:7381"}


def paths(family):
    with Net(["cloud"] + [f"a{i + 1}" for i in range(AGENTS)]) as net, \
            Cluster(agents=0, name="mtu", cloud=False) as c:
        c.net = net
        c.agents = [NetAgent(c, i + 1) for i in range(AGENTS)]
        for a in c.agents:
            set_mtu(net, a.host, USUAL)
            net.run(a.host, "sysctl", "-qw", "net.ipv4.tcp_mtu_probing=1")  # as operations.md says
        if family.version == 6:
            by_ipv6(net, c.agents)
        c.start()
        wait_for("all members", 30, lambda: all(
            [m["state"] for m in a.items("members")] == ["alive"] * AGENTS for a in c.agents))
        wire = Wire(net, "a2", family)
        spread(c.agents[0], 200, 1000)
        grow(net, c.agents, wire)
        hole(net, c.agents, family)
        hole_in_streams(net, c.agents)
        check(wire.fragments == 0, f"{wire.fragments} packets that may be fragmented")
        wire.close()
        states = [m["state"] for a in c.agents for m in a.items("members")]
        check(set(states) == {"alive"}, f"members suffered: {states}")


def test():
    for version in (4, 6):
        print(f"== IPv{version}", flush=True)
        paths(Family(version))


netns.skip_unless_possible()
run(test)
