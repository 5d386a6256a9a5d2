#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Attacks on real agents from a host without the key, in network namespaces: 100,000 random and
mutated packets, also from as many addresses (nothing answers, memory stays flat), 10,000 captured
packets replayed (the state is unchanged, before and after the receiver ended in order, or was
killed), garbage on the stream port, connections held open, and two clusters with one key that never merge. Needs root; else
it is skipped.

    python3 tests/cluster/attack_test.py [CASE...]"""
import collections
import contextlib
import json
import os
import random
import select
import socket
import struct
import sys
import threading
import time

import harness
import netns
from harness import check, run, wait_for
from netns import Net

AGENTS = 3
GARBAGE = 100_000
SPOOFED = 30_000
REPLAYED = 10_000
PORT = 7381
HELD = 600  # connections to each agent; it has room for 512
RSS_SLACK_KIB = 2048  # of pages touched for the first time; one per source would be hundreds of MiB


class Cluster(netns.NetCluster):
    """Agents alone: nobody needs a cloud to be attacked."""

    def __init__(self, net, agents, name="test"):
        harness.Cluster.__init__(self, agents=0, name=name, cloud=False)
        self.net = net
        self.agents = [netns.NetAgent(self, i + 1) for i in range(agents)]
        for a in self.agents:  # memory is looked at: freed blocks must not be kept back
            a.env = {"ASAN_OPTIONS": "detect_leaks=1:quarantine_size_mb=0:"
                                     "thread_local_quarantine_size_kb=0"}


class Sniffer:
    """Gossip datagrams that pass a host's interface: list of (source, destination, payload)."""

    def __init__(self, net, host):
        with net.inside(host):
            self.sock = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(0x0003))
            self.sock.bind(("eth0", 0))
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 16 << 20)
        self.sock.settimeout(0.2)
        self.packets = []
        self.going = True
        self.thread = threading.Thread(target=self.listen, daemon=True)
        self.thread.start()

    def listen(self):
        while self.going:
            try:
                frame = self.sock.recv(65536)
            except TimeoutError:
                continue
            if frame[12:14] != b"\x08\x00" or frame[23] != socket.IPPROTO_UDP:
                continue
            udp = 14 + (frame[14] & 15) * 4
            length = int.from_bytes(frame[udp + 4:udp + 6], "big")
            self.packets.append((socket.inet_ntoa(frame[26:30]), socket.inet_ntoa(frame[30:34]),
                                 frame[udp + 8:udp + length]))

    def stop(self):
        self.going = False
        self.thread.join()
        self.sock.close()
        return self.packets


def rss_kib(agent):
    """Without the mapped database."""
    with open(f"/proc/{agent.process.p.pid}/status", encoding="ascii") as f:
        return int(next(line for line in f if line.startswith("RssAnon")).split()[1])


def state(agent):
    """All that gossip could change but for incarnations: members and addresses, rows, intent."""
    members = sorted((m["id"], m["state"], m["address"]) for m in agent.items("members"))
    rows = [agent.items(kind) for kind in ("instances", "tasks", "environments")]
    return json.dumps([members, rows], sort_keys=True)


def all_alive(c):
    return all([m["state"] for m in a.items("members")] == ["alive"] * AGENTS for a in c.agents)


def deaths(c):
    return sum(line.get("event") in ("member_failed", "member_left")
               for a in c.agents for line in a.log_lines())


def doubts(c):
    """{member: times that anybody doubted it}: it denies each with a higher incarnation."""
    seen = collections.Counter()
    for a in c.agents:
        for line in a.log_lines():
            if line.get("event") in ("member_suspect", "member_degraded"):
                seen[line["member"]] += 1
    return seen


def own_incarnations(c):
    """Each agent's, if all others hold it too."""
    own = {m["id"]: m["incarnation"] for a in c.agents for m in a.items("members") if m["self"]}
    seen = [{m["id"]: m["incarnation"] for m in a.items("members")} for a in c.agents]
    return own if all(s == own for s in seen) else None


@contextlib.contextmanager
def unchanged(c, what):
    """What gossip could change is the same afterwards. On a loaded machine members are suspected at
    times: that passes, nobody dies of it, and only a member itself raises its incarnation then."""
    wait_for("all alive", 20, lambda: all_alive(c))
    before = [state(a) for a in c.agents]
    own = wait_for("one view of all lives", 20, lambda: own_incarnations(c))
    dead = deaths(c)
    yield
    wait_for("all alive again", 20, lambda: all_alive(c))
    after = [state(a) for a in c.agents]
    if after != before:  # a doubt between the two looks?
        wait_for(f"{what}: the state {before}", 20, lambda: [state(a) for a in c.agents] == before)
    now = wait_for("one view of all lives again", 20, lambda: own_incarnations(c))
    doubted = doubts(c)
    check(all(0 <= now[i] - own[i] < 5 + doubted[i] for i in own), f"{what}: {own} became {now}")
    check(deaths(c) == dead, f"{what}: members died")


def rejected(agent):
    """At least: where its loop is busy an agent answers with figures of some seconds ago."""
    g = agent.get("/v2/agent")["gossip"]
    return g["rejected"] + g["replayed"]


def refused_since(agent, seen, least):
    """Packets, once there are so many, or as many as there are."""
    with contextlib.suppress(harness.Failure):
        wait_for("the figures", 10, lambda: rejected(agent) - seen > least, 0.5)
    return rejected(agent) - seen


def capture(net, c, count):
    """Real packets of every kind: probes, records and their repair. All were received: one that the
    socket had no room for would be heard for the first time when it is replayed."""
    records = 1000
    while records > 0:
        sniffer, lost = Sniffer(net, "a1"), dropped(c.agents[0])
        end = time.monotonic() + 300
        while len(sniffer.packets) < count and time.monotonic() < end:
            for a in c.agents:
                a.write("POST", "/v2/agent/propagate", {"count": records, "bytes": 900})
        packets = [p for _, _, p in sniffer.stop()]
        check(len(packets) >= count, f"only {len(packets)} packets were captured")
        if dropped(c.agents[0]) == lost:
            return packets[:count]
        records //= 4
    raise harness.Failure("the receiver is too slow for few records, too")


def socket_rows(agent):
    """What the kernel says of the agent's socket."""
    with open(f"/proc/{agent.process.p.pid}/net/udp", encoding="ascii") as f:
        rows = [line.split() for line in f.readlines()[1:]]
    return [r for r in rows if int(r[1].split(":")[1], 16) == PORT]


def queued(agent):
    """Bytes that wait in it."""
    return sum(int(r[4].split(":")[1], 16) for r in socket_rows(agent))


def dropped(agent):
    """Packets that it had no room for."""
    return sum(int(r[12]) for r in socket_rows(agent))


def send_all(net, target, payloads, pace=50):
    """From a host that has no key. Returns bytes sent. The receiver's socket, of 208 KiB unless the
    machine says otherwise, must not be what drops them."""
    sent = 0
    with net.inside("mallory"):
        sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    with sock:
        for n, p in enumerate(payloads):
            if n % pace == 0:
                wait_for("the receiver to read", 30, lambda: queued(target) < 49152, 0.001)
            sock.sendto(p, (target.address, PORT))
            sent += len(p)
    return sent


def mutations(seeds, count):
    rng = random.Random(7)
    for n in range(count):
        if n % 2 == 0:
            yield rng.randbytes(rng.randrange(0, 1400))
            continue
        p = bytearray(rng.choice(seeds))
        for _ in range(rng.randrange(1, 4)):
            p[rng.randrange(len(p))] ^= 1 << rng.randrange(8)
        yield bytes(p[:rng.randrange(len(p))] if n % 7 == 0 else p)


def nothing_answers_a_stranger(net, c):
    seeds = capture(net, c, 2000)
    target = c.agents[0]
    send_all(net, target, mutations(seeds, 5000))  # touches what there is to touch
    with unchanged(c, "garbage"):
        before, seen = rss_kib(target), rejected(target)
        sniffer = Sniffer(net, "mallory")
        sent = send_all(net, target, mutations(seeds, GARBAGE))
        time.sleep(2)
        answers = [p for source, _, p in sniffer.stop() if source == target.address]
        grown = rss_kib(target) - before
        got = refused_since(target, seen, GARBAGE * 0.9)
    print(f"{GARBAGE} packets, {sent} bytes: {got:.0f} refused, {len(answers)} answered, "
          f"memory {grown:+d} KiB")
    check(got > GARBAGE * 0.9, f"only {got} of {GARBAGE} packets were seen and refused")
    check(not answers, f"{len(answers)} packets were answered")
    check(grown <= RSS_SLACK_KIB, f"memory grew by {grown} KiB")


def from_anywhere(target, count):
    """IP packets of UDP with garbage for the target, each from another address, half of them of its
    own network, where an answer would show as a question for a hardware address."""
    rng = random.Random(11)
    for n in range(count):
        near = netns.SUBNET + f".{rng.randrange(100, 255)}"
        source = near if n % 2 else ".".join(str(rng.randrange(1, 223)) for _ in range(4))
        payload = bytes([0x11 + n % 5]) + rng.randbytes(rng.randrange(20, 200))
        udp = struct.pack("!HHHH", rng.randrange(1024, 65536), PORT, 8 + len(payload), 0) + payload
        yield struct.pack("!BBHHHBBH4s4s", 0x45, 0, 20 + len(udp), n & 0xffff, 0, 64,
                          socket.IPPROTO_UDP, 0, socket.inet_aton(source),
                          socket.inet_aton(target.address)) + udp


def spoofed_sources(net, c):
    """What an agent knows of strangers does not grow with their number, and none is answered."""
    target = c.agents[0]
    members = {a.address for a in c.agents}
    with net.inside("mallory"):
        sock = socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_RAW)
    with sock, unchanged(c, "spoofed sources"):
        for p in from_anywhere(target, 2000):
            sock.sendto(p, (target.address, 0))
        before, seen = rss_kib(target), rejected(target)
        sniffer = Sniffer(net, "a1")
        for n, p in enumerate(from_anywhere(target, SPOOFED)):
            if n % 50 == 0:
                wait_for("the receiver to read", 30, lambda: queued(target) < 49152, 0.001)
            sock.sendto(p, (target.address, 0))
        time.sleep(2)
        odd = [to for source, to, _ in sniffer.stop() if source == target.address
               and to not in members]
        grown, got = rss_kib(target) - before, refused_since(target, seen, SPOOFED * 0.9)
    print(f"{SPOOFED} sources: {got:.0f} refused, {len(odd)} answered, memory {grown:+d} KiB")
    check(got > SPOOFED * 0.9, f"only {got} were seen and refused")
    check(not odd, f"answers to strangers: {odd[:5]}")
    check(grown <= RSS_SLACK_KIB, f"memory grew by {grown} KiB")


def replay_changes_nothing(net, c):
    packets = capture(net, c, REPLAYED)
    target = c.agents[0]
    for when in ("in the same life", "after a restart", "after it was killed"):
        if when != "in the same life":
            target.stop() if when == "after a restart" else target.kill()
            target.start()
            wait_for("all alive", 20, lambda: all_alive(c))
            time.sleep(2)
        with unchanged(c, when):
            sniffer = Sniffer(net, "mallory")
            send_all(net, target, packets)
            time.sleep(1)
            answers = [p for source, _, p in sniffer.stop() if source == target.address]
        # A join is bound to nobody, because its sender may know nobody: heard again by a later life
        # it is answered, with no more bytes than it has, and changes nothing.
        joins = [p for p in packets if p[0] == 0x12 and len(p) >= 400]
        check(len(answers) <= len(joins) and sum(map(len, answers)) <= sum(map(len, joins)),
              f"{when}: {len(answers)} answers, there were {len(joins)} joins")
        check(when != "in the same life" or not answers, "a packet counted twice")
        print(f"{len(packets)} packets replayed {when}: state unchanged, {len(answers)} answers")


def garbage_on_the_stream_port(net, c):
    target = c.agents[0]
    rng = random.Random(9)
    with unchanged(c, "garbage on the stream port"):
        for n in range(200):
            with net.inside("mallory"):
                sock = socket.create_connection((target.address, PORT), timeout=20)
            with sock:
                with contextlib.suppress(ConnectionError):
                    sock.sendall(rng.randbytes(rng.randrange(1, 400)))
                if n % 2:
                    with contextlib.suppress(OSError):  # it was faster
                        sock.shutdown(socket.SHUT_WR)
                sock.settimeout(0.05)
                try:
                    check(sock.recv(4096) == b"", "a stranger's stream was answered")
                except (TimeoutError, ConnectionResetError):
                    pass


def connections_held_open(net, c):
    """A stranger takes all the room that there is for connections, and more; a member that comes back
    gets in, and large records, which go by stream, reach it and come from it."""
    opened, going = [], threading.Event()

    def hold(target):
        mine, poll = {}, select.poll()
        with net.inside("mallory"):  # the namespace is the thread's
            while not going.is_set():
                while len(mine) < HELD:
                    sock = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
                    sock.setblocking(False)
                    sock.connect_ex((target.address, PORT))
                    mine[sock.fileno()] = sock
                    poll.register(sock, select.POLLIN)
                    opened.append(1)
                for fd, _ in poll.poll(1):  # closed by the other side
                    poll.unregister(fd)
                    mine.pop(fd).close()
        for sock in mine.values():
            sock.close()
    threads = [threading.Thread(target=hold, args=(a,)) for a in c.agents]
    for t in threads:
        t.start()
    try:
        wait_for("more connections than there is room for", 60, lambda: len(opened) > 4 * HELD)
        c.agents[1].stop()
        c.agents[1].start()
        wait_for("it to be back", 30, lambda: all_alive(c))

        def by_stream(agent):
            out = agent.write("POST", "/v2/agent/propagate",
                              {"count": 8, "bytes": 65536, "timeout_ms": 3000})
            check(out["all"], f"kept out: {out}")
            return True
        for a in c.agents:
            wait_for(f"records by stream from {a.number}", 20, lambda a=a: by_stream(a))
    finally:
        going.set()
        for t in threads:
            t.join()
    print(f"{len(opened)} connections kept nobody out")


def one_key_two_clusters(net, c):
    other = Cluster.__new__(Cluster)
    other.__dict__.update(c.__dict__)
    other.name = "other"
    stranger = netns.NetAgent(other, AGENTS + 1)
    stranger.settings = {"raft.expect": "1", "agent.id": "stranger"}
    c.agents.append(stranger)  # stopped and looked at with the others
    stranger.start()
    wait_for("the stranger", 20, lambda: stranger.get("/v2/agent")["id"] == "stranger")
    time.sleep(5)
    check(len(stranger.items("members")) == 1, f"it joined: {stranger.items('members')}")
    for a in c.agents[:AGENTS]:
        check(len(a.items("members")) == AGENTS, "the stranger is a member")
    check(stranger.get("/v2/agent")["gossip"]["bytes_received"] == 0, "somebody answered it")
    c.agents.pop().stop()


CASES = [garbage_on_the_stream_port, connections_held_open, one_key_two_clusters, nothing_answers_a_stranger,
         spoofed_sources, replay_changes_nothing]


def main():
    netns.skip_unless_possible()
    wanted = sys.argv[1:]
    hosts = [f"a{i + 1}" for i in range(AGENTS + 1)] + ["mallory"]
    with Net(hosts) as net, Cluster(net, AGENTS) as c:
        c.start()
        c.wait_leader()
        wait_for("all members", 20, lambda: all_alive(c))
        time.sleep(2)  # until nobody has anything to say of the start
        for case in CASES:
            if not wanted or case.__name__ in wanted:
                print(f"== {case.__name__}", flush=True)
                case(net, c)
        check(all(a.alive() for a in c.agents), f"an agent ended: {os.listdir(c.dir)}")


if __name__ == "__main__":
    run(main)
