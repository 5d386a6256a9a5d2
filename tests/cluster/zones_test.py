#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Bytes between zones cost money: what each agent counts of them is what passes its host's interface,
in network namespaces: joins, rest, a burst by datagrams and records that go by stream, of which one
copy goes to each other zone. Then, how much of the traffic leaves a zone. Needs root; else it is
skipped."""
import collections
import socket
import threading
import time

import netns
from harness import Cluster, check, run, wait_for
from netns import Net, NetAgent

ZONES = ["zone-a", "zone-a", "zone-b", "zone-b", "zone-c", "zone-c"]
PORT = 7381
REST = 8000  # bytes in some seconds
UNKNOWN = 1024  # bytes to somebody whose zone was not known just then


class Wire:
    """Payload of UDP and TCP that a host sends on gossip's port: {destination: bytes}. What TCP sends
    twice counts once."""

    def __init__(self, net, host):
        self.address, self.sent = net.address(host), collections.Counter()
        self.streams = {}  # (ports, destination): the next sequence number
        with net.inside(host):
            self.sock = socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM, socket.htons(0x0003))
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 16 << 20)
        self.sock.settimeout(0.2)
        self.going = True
        self.thread = threading.Thread(target=self.listen, daemon=True)
        self.thread.start()

    def tcp(self, packet, head, to):
        ports = (int.from_bytes(packet[head:head + 2], "big"),
                 int.from_bytes(packet[head + 2:head + 4], "big"))
        if PORT not in ports:
            return 0
        length = int.from_bytes(packet[2:4], "big") - head - (packet[head + 12] >> 4) * 4
        begin = int.from_bytes(packet[head + 4:head + 8], "big")
        if packet[head + 13] & 2:  # SYN: it counts as one
            self.streams[ports, to] = (begin + 1) % (1 << 32)
            return 0
        due = self.streams.get((ports, to), begin)
        new = (begin + length - due) % (1 << 32)
        if new >= 1 << 31:  # all of it was sent before
            return 0
        self.streams[ports, to] = (begin + length) % (1 << 32)
        return min(new, length)

    def listen(self):
        while self.going:
            try:
                packet, (_, _, kind, _, _) = self.sock.recvfrom(65536)
            except TimeoutError:
                continue
            if kind != socket.PACKET_OUTGOING or packet[0] >> 4 != 4:
                continue
            head, to = (packet[0] & 15) * 4, socket.inet_ntoa(packet[16:20])
            if packet[9] == socket.IPPROTO_UDP:
                if int.from_bytes(packet[head + 2:head + 4], "big") == PORT:
                    self.sent[to] += int.from_bytes(packet[head + 4:head + 6], "big") - 8
            elif packet[9] == socket.IPPROTO_TCP:
                self.sent[to] += self.tcp(packet, head, to)

    def close(self):
        self.going = False
        self.thread.join()
        self.sock.close()


class ZoneCluster(Cluster):
    def __init__(self, net):
        super().__init__(agents=0, cloud=False)
        self.net = net
        self.agents = [NetAgent(self, i + 1) for i in range(len(ZONES))]
        for a, zone in zip(self.agents, ZONES):
            a.settings = {"agent.zone": zone, "raft.expect": "3"}


def counted(agent):
    _, _, text = agent.request("GET", "/metrics")
    line = next(x for x in text.splitlines()
                if x.startswith("blox_gossip_cross_zone_bytes_total "))
    figure = int(float(line.split()[1]))
    check(figure <= agent.get("/v2/agent")["gossip"]["cross_zone_bytes_sent"] + 4096,
          "/metrics and /v2/agent differ")
    return figure


def far(c, wire):
    zone_of = {a.address: z for a, z in zip(c.agents, ZONES)}
    own = zone_of[wire.address]
    return sum(n for to, n in wire.sent.items() if zone_of.get(to, own) != own)


def compare(c, wires, what):
    """Each counter, which is brought up to date every few seconds, is between what had been sent some
    seconds before it was read and what has been by now."""
    def same():
        low = [far(c, w) for w in wires]
        time.sleep(2)
        figures = [counted(a) for a in c.agents[:len(wires)]]
        time.sleep(0.5)
        high = [far(c, w) for w in wires]
        all_three = list(zip(low, figures, high))
        check(all(h - l < REST for l, _, h in all_three), f"{what}: no rest in {all_three}")
        check(all(l - UNKNOWN <= f <= h for l, f, h in all_three),
              f"{what}: sent before, counted, sent by now: {all_three}")
        return all_three
    for number, (low, figure, high) in enumerate(wait_for(what, 60, same)):
        print(f"{what}: agent {number + 1} counted {figure}, {low} to {high} passed its interface")


def main():
    netns.skip_unless_possible()
    hosts = [f"a{i + 1}" for i in range(len(ZONES))]
    with Net(hosts) as net, ZoneCluster(net) as c:
        wires = [Wire(net, h) for h in hosts]
        c.start()
        c.wait_leader()
        wait_for("all members", 20, lambda: all(
            [m["state"] for m in a.items("members")] == ["alive"] * len(ZONES) for a in c.agents))
        zones = {m["id"]: m["zone"] for m in c.agents[5].items("members")}
        check(sorted(zones.values()) == sorted(ZONES), f"zones: {zones}")
        compare(c, wires, "after the start")
        for body in ({"count": 100, "bytes": 300}, {"count": 64, "bytes": 65536}):
            def all_in_time(body=body):
                return c.agents[1].write("POST", "/v2/agent/propagate",
                                         {**body, "timeout_ms": 30000})["all"]
            before = sum(far(c, w) for w in wires)
            wait_for("all to have the records", 60, all_in_time)
            compare(c, wires, str(body))
            copies = (sum(far(c, w) for w in wires) - before) / (body["count"] * body["bytes"])
            print(f"{body}: {copies:.2f} copies passed from zone to zone, two are needed")
            check(body["bytes"] < 65536 or copies < 2.5, f"{copies:.2f} copies between three zones")
        c.agents[3].kill()
        wait_for("the failure", 30, lambda: any(
            m["state"] == "failed" for m in c.agents[0].items("members")))
        time.sleep(20)  # the dead are pinged and asked whether they are back
        compare(c, wires[:3], "with one dead")
        for w in wires:
            w.close()


if __name__ == "__main__":
    run(main)
