#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Five agents, clients that create, update (If-Match), delete and read (consistency=strong)
environments at any agent while agents are killed, one or all at once, and stopped: the history of
every environment must be linearizable, and in the end every agent is asked for what there is. Half
of the clients repeat elsewhere what has no answer, with the same idempotency key, and hold that for
one operation. As root also the network is parted (each agent is in a namespace of its own) and disks
are filled (each data directory is a small file system). `./run jepsen` goes on for 20 minutes.

    BLOX_SECONDS=1200 BLOX_FAULTS=kill,all,stop,part,disk python3 tests/cluster/linear_test.py"""
import collections
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
FAULTS = os.environ.get("BLOX_FAULTS") or ("kill,all,stop" if netns.why_not() else
                                           "kill,all,stop,part,disk")
FAULTS = FAULTS.split(",")
DISK = "512m"
CLIENTS = 6
KEPT = 10  # names in use beside the newest
OPS_A_NAME = 60  # then a new name: short histories are quick to search
PATIENCE = 20
REFUSED = "refused"
CERTAIN = ("/no-leader", "/too-many-requests")  # problems that say that nothing was changed


class Histories:
    def __init__(self):
        self.lock = threading.Lock()
        self.ops = {}
        self.count = 0
        self.told = collections.Counter()

    def name(self):
        """The name for the next operation, and whether it is an old one, to be deleted: there may be
        1,000 environments."""
        with self.lock:
            self.count += 1
            n, k = divmod(self.count, OPS_A_NAME)
            old = k < 2 and n >= KEPT
            return f"k{n - KEPT if old else n}-{self.count % 2}", old

    def add(self, name, op):
        """What was refused is left out: then nobody may see anything of it."""
        out = op["out"]
        with self.lock:
            self.told["value" if isinstance(out, tuple) else str(out)] += 1
            if out != REFUSED:
                self.ops.setdefault(name, []).append(op)


def attempt(c, agent, name, f, value, revision, key):
    """What became of it; None if nobody knows, REFUSED if it is certain that nothing was done."""
    path = f"/v2/environments/{name}"
    head = {"Idempotency-Key": key}
    try:
        if f == "read":
            status, _, out = agent.request("GET", path + "?consistency=strong", timeout=15)
            known = {404: "none"}
            if status == 200:
                return (out["expression"], out["revision"])
        elif f == "create":
            status, _, out = agent.request("POST", "/v2/environments", {
                "name": name, "cluster": c.name, "taskDefinition": "daemon:1",
                "expression": value}, head, timeout=15)
            known = {201: "ok", 409: "exists"}
        elif f == "update":
            status, _, out = agent.request("PUT", path, {"expression": value},
                                           {"If-Match": f'"{revision}"', **head}, timeout=15)
            known = {200: "ok", 412: "mismatch", 404: "none"}
        else:
            status, _, out = agent.request("DELETE", path, headers=head, timeout=15)
            known = {}
            if status == 200:
                return (out["expression"], out["revision"]) if out else "none"
        certain = isinstance(out, dict) and out.get("type", "").endswith(CERTAIN)
        return known.get(status, REFUSED if certain else None)
    except (ConnectionRefusedError, FileNotFoundError):
        return REFUSED
    except (OSError, http.client.HTTPException, ValueError):
        return None


def perform(c, rng, name, f, value, revision, patient):
    """Who is patient asks again, anywhere and with the same key, until the outcome is known."""
    key = f"{SEED}-{rng.getrandbits(64):x}"
    end = time.monotonic() + PATIENCE
    doubt = False
    while True:
        out = attempt(c, rng.choice(c.agents), name, f, value, revision, key)
        if out not in (None, REFUSED):
            return out
        doubt = doubt or out is None  # that a later attempt was refused says nothing of this one
        if not patient or time.monotonic() >= end:
            return None if doubt else REFUSED
        time.sleep(0.1)


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
        out = perform(c, rng, name, f, value, revision, number % 2 == 0)
        op = {"start": start, "end": math.inf if out is None else time.monotonic(), "f": f,
              "arg": (value, revision) if f == "update" else value if f == "create" else None,
              "out": out}
        histories.add(name, op)
        if f == "read" and isinstance(out, tuple):
            known[name] = out[1]
        elif f == "update" and out == "ok":
            known[name] = revision + 1
        time.sleep(rng.random() * 0.05)


def read_all(c, histories):
    """What was done last, too, is there in the end, whichever agent is asked."""
    for n, name in enumerate(list(histories.ops)):
        start = time.monotonic()
        out = wait_for(f"a read of {name}", 30, lambda: (lambda o: o not in (None, REFUSED) and o)(
            attempt(c, c.agents[n % len(c.agents)], name, "read", None, None, "-")))
        histories.add(name, {"start": start, "end": time.monotonic(), "f": "read", "arg": None,
                             "out": out})


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
        if fault in ("kill", "all"):
            victims = [victim] if fault == "kill" else c.agents
            for v in victims:
                v.process.send(signal.SIGKILL)  # of all in one moment
            for v in victims:
                v.kill()
            time.sleep(2 * rng.random())
            for v in victims:
                v.start()
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
        read_all(c, histories)
        total = sum(len(ops) for ops in histories.ops.values())
        path = os.path.join(c.dir, "history.json")
        with open(path, "w", encoding="utf-8") as f:
            json.dump(histories.ops, f)
        bad = [n for n, ops in histories.ops.items() if not linear.linearizable(list(ops))]
        print(f"{total} operations on {len(histories.ops)} environments: {dict(histories.told)}; "
              f"faults: {told}")
        check(not bad, f"not linearizable: {bad}; see {path}, seed {SEED}")
        check(total > SECONDS and histories.told["None"] < total / 4,
              "too few operations of known outcome to say anything")


run(test)
