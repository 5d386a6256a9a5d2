#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""SIGKILL of the leader in mid-deployment, again and again, with lost StartTask replies: the
deployment completes each time, never two live daemon tasks of one environment on one instance for
more than 5 s, no acknowledged environment or deployment lost.

    BLOX_KILLS=20 python3 tests/cluster/leader_kill_test.py"""
import http.client
import json
import os
import time

from harness import Cluster, Failure, Lateness, check, run, wait_for

KILLS = int(os.environ.get("BLOX_KILLS", "5"))
INSTANCES = 60
DOUBLE_MAX_S = 5.0


def doubles(path, group):
    """Longest time in seconds that two tasks of the group were live on one instance, by the truth
    log, and how often that was."""
    live, since, worst, count, last = {}, {}, 0.0, 0, 0.0
    with open(path, encoding="utf-8") as f:
        for line in f:
            e = json.loads(line)
            if e["kind"] != "task" or e.get("group") != group or e["event"] not in ("live", "dead"):
                continue
            now = last = e["t"] / 1000.0
            tasks = live.setdefault(e["instance"], set())
            (tasks.add if e["event"] == "live" else tasks.discard)(e["task"])
            if len(tasks) > 1:
                count += e["instance"] not in since
                since.setdefault(e["instance"], now)
            elif e["instance"] in since:
                worst = max(worst, now - since.pop(e["instance"]))
    return max([worst] + [last - t for t in since.values()]), count


def one_each(c, group, deployment):
    live = c.cloud.running(group)
    return len(live) == INSTANCES and all(
        len(t) == 1 and t[0]["lastStatus"] == "RUNNING" and t[0]["startedBy"] == deployment
        for t in live.values())


def write_somewhere(c, method, path, body):
    """As a client would: another agent if this one is gone, the same idempotency key."""
    key = os.urandom(8).hex()
    end = time.monotonic() + 60
    while time.monotonic() < end:
        for a in c.agents:
            if not a.alive():
                continue
            try:
                status, _, out = a.request(method, path, body, {"Idempotency-Key": key})
            except (OSError, http.client.HTTPException):
                continue
            if status < 300:
                return out
            if status not in (500, 502, 503, 504):
                raise Failure(f"{method} {path}: {status} {out}")
        time.sleep(0.1)
    raise Failure(f"no agent took {method} {path}")


def test():
    group = "daemon:agent"
    late = Lateness()
    with Cluster(agents=5, instances=INSTANCES) as c:
        c.start().wait_ready(60)
        write_somewhere(c, "POST", "/v2/environments",
                        {"name": "agent", "cluster": c.name, "taskDefinition": "daemon:1"})
        known = []
        for n in range(KILLS):
            c.cloud.control("fault", operation="StartTask", mode="lose-reply", probability=0.3)
            d = write_somewhere(c, "POST", "/v2/environments/agent/deployments",
                                {"taskDefinition": f"daemon:{1 + n % 2}"})
            known.append(d["id"].split("/")[-1])
            time.sleep(0.05 + 0.15 * (n % 4))
            leader = c.wait_leader()
            leader.kill()
            killed = time.monotonic()
            c.wait_leader(60)
            elected = time.monotonic() - killed
            wait_for(f"deployment {n + 1} to cover all", 90,
                     lambda: one_each(c, group, known[-1]), 0.2)
            c.cloud.control("clear-faults")
            print(f"kill {n + 1}: leader after {elected:.2f} s, "
                  f"covered after {time.monotonic() - killed:.1f} s")
            leader.start()
            wait_for("the killed agent back", 30, lambda: leader.state() == "ready")
        for a in c.agents:  # the last one killed may still be catching up
            wait_for(f"all deployments at agent {a.number}", 30, lambda a=a: set(known) <= {
                d["id"].split("/")[-1] for d in a.items("deployments")})
            wait_for(f"the environment at agent {a.number}", 30, lambda a=a: [
                e for e in a.items("environments") if e["name"] == "agent"])
        worst, count = doubles(c.cloud.truth_log, group)
        print(f"{count} doubles, the longest {worst:.2f} s")
        check(worst <= late.allow(DOUBLE_MAX_S), f"two live tasks on one instance for {worst:.1f} s")


run(test)
