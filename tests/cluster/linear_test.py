#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Five agents, clients that create, update (If-Match), delete and read (consistency=strong)
environments at any agent while agents are killed and stopped: the history of every environment must
be linearizable. `./run jepsen` goes on for 20 minutes and, as root, also parts the network (each agent
in a namespace of its own) and fills disks (each data directory a small file system).

    BLOX_SECONDS=1200 BLOX_FAULTS=kill,stop,part,disk python3 tests/cluster/linear_test.py"""
import contextlib
import http.client
import json
import math
import os
import random
import signal
import threading
import time

import linear
import netns
from harness import Cluster, check, run, wait_for

SECONDS = float(os.environ.get("BLOX_SECONDS", "60"))
SEED = int(os.environ.get("BLOX_SEED", str(time.time_ns() % 1000000)))
FAULTS = os.environ.get("BLOX_FAULTS", "kill,stop").split(",")
DISK = "512m"
CLIENTS = 6
KEPT = 10  # names in use beside the newest
OPS_A_NAME = 60  # then a new name: short histories are quick to search


class Histories:
    def __init__(self):
        self.lock = threading.Lock()
        self.ops = {}
        self.count = 0
        self.unknown = 0

    def name(self):
        """The name for the next operation, and whether it is an old one, to be deleted: there may be
        1,000 environments."""
        with self.lock:
            self.count += 1
            n, k = divmod(self.count, OPS_A_NAME)
            old = k < 2 and n >= KEPT
            return f"k{n - KEPT if old else n}-{self.count % 2}", old

    def add(self, name, op):
        with self.lock:
            self.unknown += op["out"] is None
            self.ops.setdefault(name, []).append(op)


def perform(c, rng, name, f, value, revision):
    """What became of it, None if nobody knows."""
    a = rng.choice(c.agents)
    path = f"/v2/environments/{name}"
    try:
        if f == "read":
            status, _, out = a.request("GET", path + "?consistency=strong", timeout=15)
            return (out["expression"], out["revision"]) if status == 200 else \
                "none" if status == 404 else None
        if f == "create":
            status, _, _ = a.request("POST", "/v2/environments", {
                "name": name, "cluster": c.name, "taskDefinition": "daemon:1",
                "expression": value}, timeout=15)
            return {201: "ok", 409: "exists"}.get(status)
        if f == "update":
            status, _, _ = a.request("PUT", path, {"expression": value},
                                     {"If-Match": f'"{revision}"'}, timeout=15)
            return {200: "ok", 412: "mismatch", 404: "none"}.get(status)
        status, _, _ = a.request("DELETE", path, timeout=15)
        return "ok" if status == 200 else None
    except (OSError, http.client.HTTPException, ValueError):
        return None


def client(c, histories, number, end):
    rng = random.Random(SEED * 100 + number)
    known = {}
    n = 0
    while time.monotonic() < end:
        name, old = histories.name()
        f = rng.choices(("read", "create", "update", "delete"), (5, 2, 4, 1))[0]
        f = "delete" if old else f
        n += 1
        value = f"attribute:ecs.os-type == c{number}n{n}"
        revision = known.get(name, 1)
        start = time.monotonic()
        out = perform(c, rng, name, f, value, revision)
        op = {"start": start, "end": math.inf if out is None else time.monotonic(), "f": f,
              "arg": (value, revision) if f == "update" else value if f == "create" else None,
              "out": out}
        histories.add(name, op)
        if f == "read" and isinstance(out, tuple):
            known[name] = out[1]
        elif f == "update" and out == "ok":
            known[name] = revision + 1
        time.sleep(rng.random() * 0.05)


def fill_disk(path):
    with contextlib.suppress(OSError), open(path, "wb", buffering=0) as f:
        while True:
            f.write(bytes(65536))


def trouble(c, end):
    rng = random.Random(SEED)
    told = dict.fromkeys(FAULTS, 0)
    while time.monotonic() < end:
        time.sleep(1 + 2 * rng.random())
        victim = (c.leader() if rng.random() < 0.6 else None) or rng.choice(c.agents)
        fault = rng.choice(FAULTS)
        told[fault] += 1
        if fault == "kill":
            victim.kill()
            time.sleep(2 * rng.random())
            victim.start()
        elif fault == "stop":
            victim.process.send(signal.SIGSTOP)
            time.sleep(0.3 + 3 * rng.random())
            victim.process.send(signal.SIGCONT)
        elif fault == "part":
            side = {victim.host}
            if rng.random() < 0.5:
                side.add(rng.choice(c.agents).host)
            c.net.part(side, {a.host for a in c.agents} - side)
            time.sleep(0.5 + 5 * rng.random())
            c.net.heal()
        else:
            ballast = os.path.join(victim.dir, "data", "ballast")
            fill_disk(ballast)
            time.sleep(0.5 + 4 * rng.random())
            with contextlib.suppress(FileNotFoundError):  # not even its name had room
                os.remove(ballast)
    return told


@contextlib.contextmanager
def cluster():
    """Five agents; where faults need it each on a host and a disk of its own."""
    with contextlib.ExitStack() as stack:
        if "part" not in FAULTS and "disk" not in FAULTS:
            yield stack.enter_context(Cluster(agents=5, instances=5))
            return
        netns.skip_unless_possible()
        net = stack.enter_context(netns.Net(["cloud"] + [f"a{i + 1}" for i in range(5)]))
        c = netns.NetCluster(net, 5, 5)
        for a in c.agents if "disk" in FAULTS else ():
            data = os.path.join(a.dir, "data")
            os.makedirs(data, mode=0o700)
            netns.sh("mount", "-t", "tmpfs", "-o", f"size={DISK},mode=700", "blox", data)
            stack.callback(netns.sh, "umount", data)
        with c:
            yield c


def test():
    linear.self_test()
    print(f"seed {SEED}")
    with cluster() as c:
        c.start().wait_ready(60)
        histories = Histories()
        end = time.monotonic() + SECONDS
        threads = [threading.Thread(target=client, args=(c, histories, n, end), daemon=True)
                   for n in range(CLIENTS)]
        for t in threads:
            t.start()
        told = trouble(c, end)
        for t in threads:
            t.join(60)
        wait_for("a leader after the faults", 20, c.leader)
        total = sum(len(ops) for ops in histories.ops.values())
        path = os.path.join(c.dir, "history.json")
        with open(path, "w", encoding="utf-8") as f:
            json.dump(histories.ops, f)
        bad = [n for n, ops in histories.ops.items() if not linear.linearizable(list(ops))]
        print(f"{total} operations on {len(histories.ops)} environments, {histories.unknown} of "
              f"unknown outcome; faults: {told}")
        check(not bad, f"not linearizable: {bad}; see {path}, seed {SEED}")
        check(total > 20 * SECONDS / 60, "too few operations to say anything")


run(test)
