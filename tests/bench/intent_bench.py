#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Writes of intent at the leader, three voters on loopback (BLOX_AGENTS=5: two spares too): how long one
takes when nothing else goes on, in turns with local syncs in the same directory, and how many a
second 64 clients get acknowledged. one_write is the whole of it as a client sees it: HTTP, log, majority,
apply; commit is the leader's own figure, from its taking the write until a majority's disks have it."""
import http.client
import json
import multiprocessing
import os
import re
import socket
import sys
import time

from figures import percentile, put
from harness import Cluster

AGENTS = int(os.environ.get("BLOX_AGENTS", "3"))
TURNS = 10
SECONDS = 5
CLIENTS = 64
PROCESSES = 4


class Syncs:
    """What a program that keeps a record by itself would wait for: 1 KiB appended, or written over
    zeros, then fsync or fdatasync."""
    KINDS = {"fsync_append": (os.fsync, True), "fsync_overwrite": (os.fsync, False),
             "fdatasync_append": (os.fdatasync, True), "fdatasync_overwrite": (os.fdatasync, False)}

    def __init__(self, directory):
        self.took = {kind: [] for kind in self.KINDS}
        self.files = {}
        for kind, (_, appends) in self.KINDS.items():
            self.files[kind] = open(os.path.join(directory, kind), "wb", buffering=0)
            if not appends:
                self.files[kind].write(bytes(1 << 20))
                os.fsync(self.files[kind].fileno())

    def run(self, count):
        for kind, (sync, appends) in self.KINDS.items():
            f = self.files[kind]
            for n in range(count):
                start = time.monotonic()
                if not appends:
                    f.seek(n * 4096)
                f.write(b"x" * 1024)
                sync(f.fileno())
                self.took[kind].append((time.monotonic() - start) * 1000)

    def p50(self, kind):
        return percentile(self.took[kind], 50)


def write(conn, name, value):
    """Bytes and a socket: Python's HTTP client alone would take as long as the disk."""
    body = json.dumps({"expression": f"attribute:ecs.os-type == {value}"})
    conn.sendall(f"PUT /v2/environments/{name} HTTP/1.1\r\nHost: localhost\r\n"
                 f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
                 f"{body}".encode())
    answer = conn.recv(65536)
    head, _, rest = answer.partition(b"\r\n\r\n")
    length = int(re.search(rb"(?i)content-length: (\d+)", head).group(1))
    while len(rest) < length:
        rest += conn.recv(65536)
    return int(head.split()[1])


def commit_sum(leader):
    """Milliseconds of all commits so far, and their number."""
    text = leader.get("/metrics")
    total, count = (float(re.search(rf"^blox_raft_commit_seconds_{what} (\S+)", text, re.M).group(1))
                    for what in ("sum", "count"))
    return total * 1000, count


def clients(port, first, count, queue):
    """Some clients of one process: each has a request under way, answered in turn."""
    conns = [http.client.HTTPConnection("127.0.0.1", port, timeout=20) for _ in range(count)]
    end, done, n = time.monotonic() + SECONDS, 0, 0
    headers = {"Content-Type": "application/json"}

    def send(k):
        conns[k].request("PUT", f"/v2/environments/e{first + k}", json.dumps(
            {"expression": f"attribute:ecs.os-type == v{n}"}), headers)

    for k in range(count):
        send(k)
    while time.monotonic() < end:
        n += 1
        for k in range(count):
            r = conns[k].getresponse()
            r.read()
            done += r.status == 200
            send(k)
    queue.put(done)


def main():
    with Cluster(agents=AGENTS, instances=AGENTS) as c:
        c.start().wait_ready(60)
        time.sleep(13 if AGENTS > 3 else 1)  # spares are taken in
        leader = c.wait_leader()
        for k in range(CLIENTS):
            leader.write("POST", "/v2/environments", {
                "name": f"e{k}", "cluster": c.name, "taskDefinition": "daemon:1"})
        conn = socket.create_connection(("127.0.0.1", leader.api), timeout=20)
        conn.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        took, commits, syncs = [], [], Syncs(c.dir)
        for n in range(TURNS * 100):
            if n % 100 == 0:
                syncs.run(50)
            before, count = commit_sum(leader)
            start = time.monotonic()
            if write(conn, "e0", f"x{n}") != 200:
                raise SystemExit("a write was refused")
            took.append((time.monotonic() - start) * 1000)
            after, now = commit_sum(leader)
            if now == count + 1:  # else the leader wrote something by itself
                commits.append(after - before)
        one, commit = percentile(took, 50), percentile(commits, 50)
        for kind in Syncs.KINDS:
            put("intent", f"{kind}_p50", syncs.p50(kind), "ms", agents=AGENTS)
        put("intent", "one_write_p50", one, "ms", agents=AGENTS)
        put("intent", "one_write_p99", percentile(took, 99), "ms", agents=AGENTS)
        put("intent", "commit_p50", commit, "ms", agents=AGENTS, samples=len(commits))
        put("intent", "commit_p99", percentile(commits, 99), "ms", agents=AGENTS)
        for kind in Syncs.KINDS:
            put("intent", f"one_write_per_{kind}", one / syncs.p50(kind), "1", agents=AGENTS)
            put("intent", f"commit_per_{kind}", commit / syncs.p50(kind), "1", agents=AGENTS)
        queue = multiprocessing.Queue()
        share = CLIENTS // PROCESSES
        running = [multiprocessing.Process(target=clients,
                                           args=(leader.api, p * share, share, queue))
                   for p in range(PROCESSES)]
        start = time.monotonic()
        for p in running:
            p.start()
        done = sum(queue.get() for _ in running)
        took = time.monotonic() - start
        for p in running:
            p.join()
        put("intent", "writes_per_second", round(done / took), "1/s", agents=AGENTS,
            clients=CLIENTS)
    return 0


sys.exit(main())
