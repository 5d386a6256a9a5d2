#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Answers of one API server (api_serve: the server with a store, no agent around it), measured by
wrk on the same machine, for 100 to 100,000 tasks; etcd's JSON gateway in the same run; what lists,
idle watchers and long polls cost in memory; answers while rows change; and in a cluster of three,
how long a change takes to a client of another agent. BLOX_API_SIZES=100,1000 measures less."""
import base64
import http.client
import json
import os
import re
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
import time

from figures import put, put_spread
from harness import BIN, Cluster, Failure, free_port, wait_for

UNITS = {"us": 0.001, "ms": 1.0, "s": 1000.0, "m": 60000.0}
SECONDS = int(os.environ.get("BLOX_API_SECONDS", "4"))
SIZES = [int(n) for n in os.environ.get("BLOX_API_SIZES", "100,1000,10000,100000").split(",")]
TASK = "arn%3Aaws%3Aecs%3Aus-east-1%3A111122223333%3Atask%2Fprod%2F" + "1".zfill(32)


def wrk(url, connections, script=None):
    more = ["-s", script] if script else []
    r = subprocess.run(["wrk", "-t", str(min(2, connections)), "-c", str(connections), "-d",
                        f"{SECONDS}s", "--latency", *more, url],
                       capture_output=True, text=True, check=True)
    bad = re.search(r"Non-2xx or 3xx responses: (\d+)", r.stdout)
    if bad:
        raise Failure(f"{bad.group(1)} answers of {url} were not 2xx")
    rate = float(re.search(r"Requests/sec:\s+([\d.]+)", r.stdout).group(1))
    at = {p: float(n) * UNITS[u]
          for p, n, u in re.findall(r"(50|99)%\s+([\d.]+)(us|ms|s|m)\b", r.stdout)}
    return rate, at["50"], at["99"]


def figure(name, url, connections, script=None, **facts):
    rate, p50, p99 = wrk(url, connections, script)
    facts["connections"] = connections
    put("api", f"{name}_rate", round(rate), "requests/s", **facts)
    put("api", f"{name}_p50", p50, "ms", **facts)
    put("api", f"{name}_p99", p99, "ms", **facts)
    return rate


class Server:
    def __init__(self, tasks, rate=0):
        self.process = subprocess.Popen([os.path.join(BIN, "api_serve"), str(tasks), str(rate)],
                                        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.port = int(self.process.stdout.readline())
        self.base = f"http://127.0.0.1:{self.port}"

    def memory(self, what):
        with open(f"/proc/{self.process.pid}/smaps_rollup", encoding="ascii") as f:
            return int(re.search(what + r":\s+(\d+) kB", f.read()).group(1))

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.stdin.close()
        self.process.wait(60)


def peak_of_lists(server, count):
    """Anonymous memory at its greatest while lists are read, less that before."""
    before, greatest, over = server.memory("Anonymous"), 0, threading.Event()

    def read():
        c = http.client.HTTPConnection("127.0.0.1", server.port)
        for _ in range(count):
            c.request("GET", "/v1/tasks")
            c.getresponse().read()
        over.set()
    reader = threading.Thread(target=read)
    reader.start()
    while not over.is_set():
        greatest = max(greatest, server.memory("Anonymous"))
        time.sleep(0.002)
    reader.join()
    return greatest - before


def ask(port, target):
    s = socket.create_connection(("127.0.0.1", port))
    s.sendall(f"GET {target} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
    return s


def idle_clients(server):
    c = http.client.HTTPConnection("127.0.0.1", server.port)
    c.request("GET", "/v2/environments")
    index = c.getresponse().getheader("Blox-Index")
    c.close()
    before = server.memory("Anonymous")
    held = [ask(server.port, "/v2/watch?kinds=environment") for _ in range(1000)]
    for s in held:
        text = b""
        while b"synced" not in text:
            text += s.recv(4096)
    watchers = server.memory("Anonymous")
    held += [ask(server.port, f"/v2/environments?wait=60s&index={index}") for _ in range(256)]
    time.sleep(1)
    put("api", "idle_watchers_memory", watchers - before, "KiB", clients=1000)
    put("api", "long_polls_memory", server.memory("Anonymous") - watchers, "KiB", clients=256)
    for s in held:
        s.close()


def sizes():
    for tasks in SIZES:
        with Server(tasks) as s:
            figure("get_task_v2", f"{s.base}/v2/tasks/{TASK}", 64, tasks=tasks)
            figure("get_task_v1", f"{s.base}/v1/tasks/prod/{TASK}", 64, tasks=tasks)
            if tasks >= 1000:
                figure("list_10_stopped_v2", f"{s.base}/v2/tasks?status=STOPPED", 1, tasks=tasks)
                figure("list_10_stopped_v1", f"{s.base}/v1/tasks?status=STOPPED", 1, tasks=tasks)
                figure("list_1000_v2", f"{s.base}/v2/tasks?limit=1000", 1, tasks=tasks)
            figure("list_all_v1", f"{s.base}/v1/tasks", 1, tasks=tasks)
            put("api", "list_all_v1_memory", peak_of_lists(s, 20), "KiB", tasks=tasks)
            if tasks == SIZES[-1]:
                idle_clients(s)


def storm():
    for rate in (0, 1000):
        with Server(10000, rate) as s:
            figure("get_task_v2_while_rows_change", f"{s.base}/v2/tasks/{TASK}", 8,
                   changes_per_s=rate)


def etcd():
    """The same tasks as values of etcd, read by its JSON gateway."""
    with tempfile.TemporaryDirectory() as d:
        client, peer = free_port(), free_port()
        urls = f"http://127.0.0.1:{client}", f"http://127.0.0.1:{peer}"
        p = subprocess.Popen(["etcd", "--data-dir", d + "/data", "--listen-client-urls", urls[0],
                              "--advertise-client-urls", urls[0], "--listen-peer-urls", urls[1],
                              "--initial-advertise-peer-urls", urls[1], "--initial-cluster",
                              f"default={urls[1]}", "--log-level", "error"],
                             stderr=subprocess.DEVNULL)

        def call(path, body):
            c = http.client.HTTPConnection("127.0.0.1", client, timeout=10)
            c.request("POST", path, json.dumps(body))
            r = c.getresponse()
            r.read()
            return r.status

        def ready():
            try:
                return call("/v3/kv/range", {"key": "YQ=="}) == 200
            except OSError:
                return False
        try:
            wait_for("etcd", 30, ready, 0.1)
            value = base64.b64encode(b"x" * 1100).decode()
            for first in range(0, 10000, 100):
                ops = [{"requestPut": {"key": base64.b64encode(b"t%05d" % n).decode(),
                                       "value": value}} for n in range(first, first + 100)]
                if call("/v3/kv/txn", {"success": ops}) != 200:
                    raise Failure("etcd refused the rows")
            with open(d + "/get.lua", "w", encoding="ascii") as f:
                f.write('wrk.method = "POST"\nwrk.body = \'{"key":"%s"}\'\n'
                        % base64.b64encode(b"t00001").decode())
            return figure("etcd_get", urls[0] + "/v3/kv/range", 64, d + "/get.lua", tasks=10000)
        finally:
            p.terminate()
            p.wait(30)


def remote_change():
    """A change asked for at one agent, until a client of another one has it: with raft's commit."""
    with Cluster(agents=3, instances=3) as c:
        c.start().wait_ready(60)
        writer, reader = c.agents[0], c.agents[1]
        seen, stream = {}, ask(reader.api, "/v2/watch?kinds=environment")

        def watch():
            text = b""
            while True:
                try:
                    got = stream.recv(65536)
                except OSError:
                    return
                if not got:
                    return
                now = time.monotonic()
                text += got
                for name in re.findall(rb'"name":"(r\d+)"', text):
                    seen.setdefault(name.decode(), now)
                text = text[-200:]
        thread = threading.Thread(target=watch, daemon=True)
        thread.start()
        took, after = [], []
        for i in range(100):
            began = time.monotonic()
            writer.write("POST", "/v2/environments", {
                "name": f"r{i}", "cluster": c.name, "taskDefinition": "daemon:1"})
            acknowledged = time.monotonic()
            wait_for("the change", 10, lambda n=f"r{i}": n in seen, 0.001)
            took.append((seen[f"r{i}"] - began) * 1000)
            after.append((seen[f"r{i}"] - acknowledged) * 1000)
        stream.close()
        put_spread("api", "request_to_remote_watch", took, "ms")
        put_spread("api", "acknowledged_to_remote_watch", after, "ms")


def main():
    if shutil.which("wrk") is None:
        print("the api benchmark needs wrk (apt install wrk)", file=sys.stderr)
        return 1
    sizes()
    storm()
    if shutil.which("etcd") is not None:
        etcd()
    remote_change()
    return 0


sys.exit(main())
