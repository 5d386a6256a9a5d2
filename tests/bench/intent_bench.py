#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Writes of intent at the leader, three voters on loopback (BLOX_AGENTS=5: two spares too): how long one
takes when nothing else goes on, and how many a second 64 clients get acknowledged. one_write is the whole
of it as a client sees it: HTTP, log, majority, apply; commit is the leader's own figure, from its taking
the write until a majority's disks have it. Both one behind the other (pause_us 0) and with a pause
before each, in turns with bench_floor in the same directory: local syncs, and the least that three
voters can do, at that same pace."""
import http.client
import json
import multiprocessing
import os
import re
import socket
import subprocess
import sys
import time

from figures import percentile, put
from harness import BIN, Cluster

AGENTS = int(os.environ.get("BLOX_AGENTS", "3"))
TURNS = 10
WRITES = {0: 100, 5000: 40}  # pause in us: of one turn
ROUNDS = {0: 40, 5000: 10}
SECONDS = 5
CLIENTS = 64
PROCESSES = 4


class Floor:
    """bench_floor, a turn at a time."""

    def __init__(self, directory, pause_us):
        self.p = subprocess.Popen([os.path.join(BIN, "bench_floor"), directory, str(pause_us)],
                                  stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def run(self, rounds):
        self.p.stdin.write(f"{rounds}\n")
        self.p.stdin.flush()
        if self.p.stdout.readline() != "done\n":
            raise SystemExit("bench_floor ended")

    def end(self):
        """Prints its figures; returns the medians: (figure, way) -> ms."""
        out, _ = self.p.communicate()
        print(out, end="", flush=True)
        lines = [json.loads(line) for line in out.splitlines()]
        return {(f["figure"][:-4], f["way"]): f["value"] for f in lines
                if f["figure"].endswith("_p50")}


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


def measure(conn, leader, turn, count, pause, took, commits):
    before, number = commit_sum(leader)
    for n in range(count):
        time.sleep(pause / 1e6)
        start = time.monotonic()
        if write(conn, "e0", f"x{turn}-{n}") != 200:
            raise SystemExit("a write was refused")
        took.append((time.monotonic() - start) * 1000)
        after, now = commit_sum(leader)
        if now == number + 1:  # else the leader wrote something by itself
            commits.append(after - before)
        before, number = after, now


def report(pause, took, commits, floor):
    conditions = {"agents": AGENTS, "pause_us": pause}
    for figure, values in (("one_write", took), ("commit", commits)):
        p50 = percentile(values, 50)
        put("intent", f"{figure}_p50", p50, "ms", samples=len(values), **conditions)
        put("intent", f"{figure}_p99", percentile(values, 99), "ms", **conditions)
        put("intent", f"{figure}_per_floor", p50 / floor["commit", "direct"], "1", **conditions)
        for way in ("append", "overwrite", "direct"):
            put("intent", f"{figure}_per_sync", p50 / floor["sync", way], "1", way=way,
                **conditions)
    for way in ("append", "overwrite", "direct"):
        put("intent", "floor_per_sync", floor["commit", way] / floor["sync", way], "1", way=way,
            **conditions)


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
        floors = {pause: Floor(c.dir, pause) for pause in WRITES}
        took, commits = ({pause: [] for pause in WRITES} for _ in range(2))
        for n in range(TURNS):
            for pause, count in WRITES.items():
                floors[pause].run(ROUNDS[pause])
                measure(conn, leader, n, count, pause, took[pause], commits[pause])
        for pause in WRITES:
            report(pause, took[pause], commits[pause], floors[pause].end())
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
