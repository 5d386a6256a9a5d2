#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Gossip among N hosts (network namespaces): how long until all others know that a host vanished
(its cable is pulled), and how long one record needs to all. Whole bloxd processes; beside them, in
the same run and the same namespaces, serf with its LAN defaults, if it is installed.

    BLOX_HOSTS=16,32 python3 tests/bench/gossip_bench.py"""
import contextlib
import datetime
import os
import select
import shutil
import socket
import subprocess
import sys
import threading
import time

from figures import put, put_spread
from harness import Failure, wait_for
from netns import Net, NetCluster, skip_unless_possible

HOSTS = [int(n) for n in os.environ.get("BLOX_HOSTS", "16,32").split(",")]
VANISH = int(os.environ.get("BLOX_VANISH", "5"))
RECORDS = int(os.environ.get("BLOX_RECORDS", "20"))


# ---- bloxd ----

def event_times(agent, event, member, since):
    """Wall clock times of that log event about that member."""
    for e in agent.log_lines():
        if e.get("event") == event and e.get("member") == member:
            at = datetime.datetime.fromisoformat(e["time"].replace("Z", "+00:00")).timestamp()
            if at >= since:
                yield at


def blox_vanish(c, net):
    first, last = [], []
    for i in range(VANISH):
        victim = c.agents[3 + i]
        who = victim.get("/v2/agent")["id"]
        others = [a for a in c.agents if a is not victim]
        at = time.time()
        net.unplug(victim.host)

        def known():
            times = [min(event_times(a, "member_failed", who, at), default=None) for a in others]
            return times if None not in times else None

        times = wait_for("all to know that a host vanished", 60, known, 0.2)
        first.append((min(times) - at) * 1000)
        last.append((max(times) - at) * 1000)
        net.plug(victim.host)
        wait_for("the host back", 60, lambda: all(
            {m["state"] for m in a.items("members")} == {"alive"} for a in c.agents[:2] + [victim]))
    return first, last


def watch(net, agent):
    """A socket on which every change of an environment arrives."""
    with net.inside(agent.host):
        s = socket.create_connection(("127.0.0.1", agent.api))
    s.sendall(b"GET /v2/watch?kinds=environments HTTP/1.1\r\nHost: 127.0.0.1\r\n"
              b"Accept: application/x-ndjson\r\n\r\n")
    return s


@contextlib.contextmanager
def beside(fn, *args):
    """Runs fn while the block runs: what it causes may be seen before it returns."""
    t = threading.Thread(target=fn, args=args)
    t.start()
    yield
    t.join()


def drain(sockets, seconds):
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        for s in select.select(sockets, [], [], 0.05)[0]:
            s.recv(1 << 16)


def arrivals(poll, fds, word):
    """Monotonic time at which each of these descriptors gave the word."""
    seen, text = {}, {}
    end = time.monotonic() + 60
    while len(seen) < len(fds):
        if time.monotonic() > end:
            raise Failure(f"{len(fds) - len(seen)} hosts did not say {word} within 60 s")
        for fd, _ in poll.poll(200):
            text[fd] = (text.get(fd, b"") + os.read(fd, 1 << 16))[-8192:]
            if fd in fds and word in text[fd]:
                seen.setdefault(fd, time.monotonic())
    return seen


def blox_spread(c, net):
    """From the first agent that shows the record (the leader) to the last one."""
    a = c.agents[0]
    a.write("POST", "/v2/environments", {"name": "d", "cluster": c.name,
                                         "taskDefinition": "daemon:1"})
    sockets = {}
    with contextlib.ExitStack() as stack:
        for agent in c.agents:
            s = stack.enter_context(watch(net, agent))
            sockets[s.fileno()] = s
        drain(list(sockets.values()), 3)
        poll = select.poll()
        for fd in sockets:
            poll.register(fd, select.POLLIN)
        spread = []
        for i in range(RECORDS):
            word = f"mark-{os.getpid()}-{i}"
            body = {"attributes": [{"name": "x", "value": word}]}
            with beside(a.write, "PUT", "/v2/environments/d", body):
                seen = arrivals(poll, sockets, word.encode())
            spread.append((max(seen.values()) - min(seen.values())) * 1000)
            time.sleep(0.3)
    return spread


def bench_blox(n):
    with Net(["cloud"] + [f"a{i + 1}" for i in range(n)]) as net, \
            NetCluster(net, n, n) as c:
        c.start()
        wait_for("all agents ready", 180, lambda: all(a.state() == "ready" for a in c.agents), 0.5)
        time.sleep(5)
        spread = blox_spread(c, net)
        put_spread("gossip", "record_first_to_last", spread, "ms", who="bloxd", hosts=n)
        sent = [a.get("/v2/agent")["gossip"]["bytes_sent"] for a in c.agents]
        start = time.monotonic()
        time.sleep(20)
        over = time.monotonic() - start
        rates = [(a.get("/v2/agent")["gossip"]["bytes_sent"] - s) / over
                 for a, s in zip(c.agents, sent)]
        put("gossip", "idle_sent_mean", sum(rates) / n, "B/s per agent", who="bloxd", hosts=n)
        first, last = blox_vanish(c, net)
        put_spread("gossip", "vanished_known_to_first", first, "ms", who="bloxd", hosts=n)
        put_spread("gossip", "vanished_known_to_all", last, "ms", who="bloxd", hosts=n)


# ---- serf ----

def start_serf(net, host, first):
    address = net.address(host)
    with net.inside(host):
        return subprocess.Popen(
            ["serf", "agent", f"-node={host}", f"-bind={address}:7946",
             "-rpc-addr=127.0.0.1:7373", "-profile=lan", "-log-level=info",
             *([f"-retry-join={net.address(first)}:7946"] if host != first else [])],
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)


def serf(net, host, *argv):
    with net.inside(host):
        return subprocess.run(["serf", *argv], capture_output=True, text=True).stdout


def serf_run(net, hosts):
    processes = {}
    try:
        for h in hosts:
            processes[h] = start_serf(net, h, hosts[0])
        wait_for("serf to know all", 60, lambda: serf(
            net, hosts[-1], "members", "-status=alive").count("alive") == len(hosts), 0.5)
        time.sleep(5)
        fds = {p.stdout.fileno(): p.stdout.fileno() for p in processes.values()}
        for fd in fds:
            os.set_blocking(fd, False)
        poll = select.poll()
        for fd in fds:
            poll.register(fd, select.POLLIN)
        spread = []
        for i in range(RECORDS):
            word = f"mark-{i}-x"
            with beside(serf, net, hosts[0], "event", "-coalesce=false", word):
                seen = arrivals(poll, fds, word.encode())
            spread.append((max(seen.values()) - min(seen.values())) * 1000)
            time.sleep(0.3)
        put_spread("gossip", "record_first_to_last", spread, "ms", who="serf", hosts=len(hosts))
        first, last = [], []
        for i in range(VANISH):
            victim = hosts[3 + i]
            rest = {fd: fd for h, p in processes.items() if h != victim
                    for fd in [p.stdout.fileno()]}
            at = time.monotonic()
            net.unplug(victim)
            seen = arrivals(poll, rest, f"EventMemberFailed: {victim} ".encode())
            first.append((min(seen.values()) - at) * 1000)
            last.append((max(seen.values()) - at) * 1000)
            net.plug(victim)
            wait_for("serf's host back", 120, lambda: serf(
                net, hosts[0], "members", "-status=alive").count("alive") == len(hosts), 0.5)
            time.sleep(2)
        put_spread("gossip", "vanished_known_to_first", first, "ms", who="serf", hosts=len(hosts))
        put_spread("gossip", "vanished_known_to_all", last, "ms", who="serf", hosts=len(hosts))
    finally:
        for p in processes.values():
            p.kill()
        for p in processes.values():
            p.wait()
            p.stdout.close()


def bench_serf(n):
    hosts = [f"a{i + 1}" for i in range(n)]
    with Net(hosts) as net:
        serf_run(net, hosts)


def main():
    skip_unless_possible()
    for n in HOSTS:
        bench_blox(n)
        if shutil.which("serf"):
            bench_serf(n)
        else:
            print("serf is not installed: no figures beside bloxd's", file=sys.stderr)
    return 0


sys.exit(main())
