#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""From the queue into the rows of all agents, through the local cloud, which shares the machine:
events per second by what is added to each AWS request; one event's way to five agents; a full
resync of 5,000 instances and as many tasks, with an agent's memory; and a follower's answers while
events storm and all is compared with ECS. BLOX_INTAKE=rate,way,resync,follower chooses."""
import http.client
import json
import multiprocessing
import os
import select
import socket
import sys
import threading
import time

from figures import cpu_seconds, put, put_spread, own_turns
from harness import Cluster, wait_for

INSTANCES = 500
EVENTS = int(os.environ.get("BLOX_EVENTS", "60000"))
ADDED_MS = [int(x) for x in os.environ.get("BLOX_ADDED_MS", "0,2,10,30,100").split(",")]
RESYNC = int(os.environ.get("BLOX_RESYNC", "5000"))
QUICK = ("--settings", '{"throttle":0,"event_duplicate":0,"event_delay_ms":0}')


def left(c):
    s = c.cloud.control("stats")
    return s["queue_ready"] + s["queue_in_flight"] + s["queue_delayed"]


def keep_to(pid, cores):
    """All threads of a process; those that it makes later, too."""
    for thread in os.listdir(f"/proc/{pid}/task"):
        os.sched_setaffinity(int(thread), cores)


class Reader:
    """Asks a follower for one instance, over and over, in a process of its own at real-time
    priority, so that what it waits for is the agent and not its own turn; times in ms."""

    def __init__(self, agent, arn, cores=None):
        self.end, self.times = multiprocessing.Event(), multiprocessing.SimpleQueue()
        self.process = multiprocessing.Process(target=self.run, args=(agent.api, arn))
        self.process.start()
        if cores:
            keep_to(self.process.pid, cores)

    def run(self, port, arn):
        own_turns()
        conn, times = http.client.HTTPConnection("127.0.0.1", port), []
        while not self.end.is_set():
            begun = time.perf_counter()
            conn.request("GET", "/v2/instances/" + arn)
            conn.getresponse().read()
            times.append((time.perf_counter() - begun) * 1000)
            time.sleep(0.002)
        conn.close()
        self.times.put(times)

    def stop(self):
        self.end.set()
        times = self.times.get()
        self.process.join()
        return times


def suspicions(c):
    return sum(line.get("event") == "member_suspect" for a in c.agents for line in a.log_lines())


def rate(c, added_ms):
    leader = c.wait_leader()
    follower = next(a for a in c.agents if a is not leader)
    # Nothing can be received while the storm is made: the cloud has one thread.
    c.cloud.control("storm", count=EVENTS)
    if added_ms:
        c.cloud.control("fault", operation="*", service="sqs", mode="delay", ms=added_ms)
    truth = c.cloud.truth()["instances"]
    want = {i["containerInstanceArn"]: i["version"] for i in truth}
    reader = Reader(follower, truth[0]["containerInstanceArn"])
    pids = {"cloud": c.cloud.p.pid, "leader": leader.process.p.pid,
            "follower": follower.process.p.pid}
    cpu = {k: cpu_seconds(p) for k, p in pids.items()}
    queued, start = left(c), time.monotonic()
    wait_for("the queue to be empty", 300, lambda: left(c) == 0, 0.02)
    took = time.monotonic() - start
    for who, pid in pids.items():
        put("intake", f"cpu_{who}", 1e6 * (cpu_seconds(pid) - cpu[who]) / queued, "us/event",
            added_ms=added_ms)
    wait_for("equal rows at all", 60, lambda: all(want == {
        r["containerInstanceArn"]: r["version"] for r in a.items("instances")}
        for a in c.agents), 0.05)
    put("intake", "rows_equal_at_all_after", time.monotonic() - start, "s", added_ms=added_ms)
    put("intake", "events_rate", queued / took, "events/s", added_ms=added_ms, events=queued)
    put_spread("intake", "follower_get", reader.stop(), "ms", added_ms=added_ms)
    c.cloud.control("clear-faults")


def bench_rate():
    with Cluster(agents=3, instances=INSTANCES, cloud_args=QUICK) as c:
        c.start().wait_ready(60)
        leader = c.wait_leader()
        arn = c.cloud.truth()["instances"][0]["containerInstanceArn"]
        reader = Reader(next(a for a in c.agents if a is not leader), arn)
        time.sleep(3)
        put_spread("intake", "follower_get_idle", reader.stop(), "ms")
        before = suspicions(c)
        for added_ms in ADDED_MS:
            rate(c, added_ms)
        put("intake", "suspicions", suspicions(c) - before, "in all storms")


def reconciled_ms(agent):
    return agent.get("/v2/agent")["intake"]["reconcile"]["last_ok_unix_ms"]


def health(agent):
    """blox_gossip_local_health: above 0 once a probe of its own was answered late or not."""
    conn = http.client.HTTPConnection("127.0.0.1", agent.api)
    conn.request("GET", "/metrics")
    text = conn.getresponse().read().decode()
    conn.close()
    return max(int(line.split()[-1]) for line in text.splitlines()
               if line.startswith("blox_gossip_local_health"))


def bench_follower():
    """A follower's answers at rest, and while storms and full reconciles go on together: first with
    all on all cores; then with the follower and its reader on a core of their own, as on a host of
    its own, so that what is left is the follower's own doing."""
    settings = {"intake.reconcile_interval": "10s"}
    with Cluster(agents=3, instances=RESYNC, cloud_args=QUICK) as c:
        for agent in c.agents:
            agent.settings = settings
        c.start().wait_ready(120)
        leader = c.wait_leader()
        follower = next(a for a in c.agents if a is not leader)
        wait_for("the rows", 60, lambda: len(follower.items("instances")) == RESYNC, 1)
        arn = c.cloud.truth()["instances"][0]["containerInstanceArn"]
        before, greatest = suspicions(c), 0
        cores = sorted(os.sched_getaffinity(0))
        for where in (None, {cores[-1]}):
            if where:
                rest = set(cores[:-1])
                for pid in [os.getpid(), c.cloud.p.pid] + [a.process.p.pid for a in c.agents]:
                    keep_to(pid, rest)
                keep_to(follower.process.p.pid, where)
            facts = {"cores": "one of its own" if where else "shared"}
            last = reconciled_ms(leader)
            wait_for("a reconcile", 60, lambda: reconciled_ms(leader) > last, 0.2)
            reader = Reader(follower, arn, where)
            time.sleep(4)
            put_spread("intake", "follower_get_idle", reader.stop(), "ms", **facts)
            reader, last, events = Reader(follower, arn, where), reconciled_ms(leader), 0
            while reconciled_ms(leader) == last:
                c.cloud.control("storm", count=EVENTS // 4)
                events += EVENTS // 4
                while left(c) > 0:
                    greatest = max([greatest] + [health(a) for a in c.agents])
                    time.sleep(0.1)
            put_spread("intake", "follower_get_storm_and_reconcile", reader.stop(), "ms",
                       events=events, **facts)
        put("intake", "suspicions", suspicions(c) - before, "in all storms")
        put("intake", "local_health", greatest, "at its worst")


def watch(agent):
    s = socket.create_connection(("127.0.0.1", agent.api))
    s.sendall(b"GET /v2/watch?kinds=tasks HTTP/1.1\r\nHost: 127.0.0.1\r\n"
              b"Accept: application/x-ndjson\r\n\r\n")
    return s


def task_event(cluster, number, version=1, instance=None):
    name = cluster.split("/")[-1]
    head = cluster.split(":cluster/")[0]
    task = f"{head}:task/{name}/{number:032x}"
    return {"version": "0", "id": "0", "detail-type": "ECS Task State Change", "source": "aws.ecs",
            "time": "2026-11-22T09:00:00Z", "resources": [task], "detail": {
                "taskArn": task, "clusterArn": cluster, "lastStatus": "RUNNING",
                "desiredStatus": "RUNNING", "version": version, "group": "service:web",
                "taskDefinitionArn": f"{head}:task-definition/web:{number % 20}",
                "startedBy": "ecs-svc/1234567890123456789", "launchType": "EC2",
                "createdAt": "2026-11-22T08:00:00.1Z", "updatedAt": "2026-11-22T09:00:00.1Z",
                "containerInstanceArn": instance or
                f"{head}:container-instance/{name}/{number % RESYNC:032x}",
                "containers": [{"containerArn": f"{head}:container/{name}/{number:032x}/1",
                                "name": "web", "lastStatus": "RUNNING", "taskArn": task,
                                "image": "web:1", "cpu": "10", "memory": "128",
                                "networkInterfaces": [], "runtimeId": f"{number:064x}"}],
                "overrides": {"containerOverrides": [{"name": "web"}]}, "cpu": "10",
                "memory": "128", "availabilityZone": "us-east-1a", "attachments": []}}


def bench_way():
    """From before the event is put into the queue until a watch of each of five agents shows it."""
    with Cluster(agents=5, instances=20, cloud_args=QUICK) as c:
        c.start().wait_ready(60)
        cluster = c.cloud.ready["cluster_arn"]
        sockets = [watch(a) for a in c.agents]
        end = time.monotonic() + 2
        while time.monotonic() < end:
            for s in select.select(sockets, [], [], 0.1)[0]:
                s.recv(1 << 16)
        first, last = [], []
        for i in range(300):
            event = task_event(cluster, (1 << 64) + i)
            word = f"{(1 << 64) + i:032x}".encode()
            begun = time.monotonic()
            putter = threading.Thread(target=c.cloud.control, args=("put-event",),
                                      kwargs={"body": event})
            putter.start()
            waiting, text, times = list(sockets), {s: b"" for s in sockets}, []
            while waiting:
                for s in select.select(waiting, [], [], 10)[0]:
                    text[s] += s.recv(1 << 16)
                    if word in text[s]:
                        times.append((time.monotonic() - begun) * 1000)
                        waiting.remove(s)
            putter.join()
            first.append(min(times))
            last.append(max(times))
            time.sleep(0.02)
        for s in sockets:
            s.close()
        put_spread("intake", "event_to_first_agent", first, "ms", agents=5)
        put_spread("intake", "event_to_all_agents", last, "ms", agents=5)


def anonymous_mib(pid):
    with open(f"/proc/{pid}/status", encoding="ascii") as f:
        return next(int(line.split()[1]) for line in f if line.startswith("RssAnon")) / 1024


def cold_start(agent, arn):
    """From the start of the process until it answers a row as it did before; in ms."""
    def row():
        conn = http.client.HTTPConnection("127.0.0.1", agent.api, timeout=1)
        conn.request("GET", "/v2/instances/" + arn)
        answer = conn.getresponse()
        return json.loads(answer.read()) if answer.status == 200 else None
    before = row()
    agent.kill()
    begun = time.perf_counter()
    agent.start()
    while True:
        try:
            if row() == before:
                return (time.perf_counter() - begun) * 1000
        except OSError:
            pass
        time.sleep(0.002)


def bench_resync():
    """5,000 instances, one task on each; another leader reads them all again. Then 50,000 tasks."""
    settings = ("--settings", '{"event_duplicate":0,"event_delay_ms":0}')  # throttled as AWS does
    with Cluster(agents=3, instances=RESYNC, cloud_args=settings) as c:
        c.start().wait_ready(120)
        a = c.agents[0]
        wait_for("the instances", 60, lambda: len(a.items("instances")) == RESYNC, 1)
        a.write("POST", "/v2/environments",
                {"name": "logs", "cluster": c.name, "taskDefinition": "daemon:1"})
        a.write("POST", "/v2/environments/logs/deployments", {})
        begun = time.monotonic()
        wait_for("a task on each", 240, lambda: [
            d for d in a.items("deployments") if d["status"] == "completed"], 1)
        put("intake", "deployed", time.monotonic() - begun, "s", instances=RESYNC)
        time.sleep(20)
        before = c.cloud.control("stats")
        leader, begun = c.wait_leader(), time.monotonic()
        leader.kill()
        other = c.wait_leader()
        wait_for("the reconcile", 120, lambda: other.get("/v2/agent")["state"] == "ready"
                 and other.get("/v2/agent")["intake"]["reconcile"]["last_ok_unix_ms"] > 0, 0.1)
        put("intake", "resync", time.monotonic() - begun, "s from the kill of the leader")
        after = c.cloud.control("stats")
        calls = {k: after.get(f"op:ecs.{k}", 0) - before.get(f"op:ecs.{k}", 0) for k in (
            "ListContainerInstances", "ListTasks", "DescribeContainerInstances", "DescribeTasks")}
        put("intake", "resync_calls", sum(calls.values()), "read calls", **calls)
        put("intake", "throttled", after.get("error:ThrottlingException", 0), "calls, all in all")
        put("intake", "anonymous", anonymous_mib(other.process.p.pid), "MiB, leader",
            instances=RESYNC, tasks=RESYNC)
        conn = http.client.HTTPConnection("127.0.0.1", c.cloud.port)
        arns = [i["containerInstanceArn"] for i in c.cloud.truth()["instances"]]
        for i in range(9 * RESYNC):
            event = task_event(c.cloud.ready["cluster_arn"], i, instance=arns[i % RESYNC])
            conn.request("POST", "/_control/put-event", json.dumps({"body": event}))
            conn.getresponse().read()
        conn.close()
        wait_for("the queue to be empty", 120, lambda: left(c) == 0, 0.2)
        for agent in c.agents:
            if agent.alive():
                who = "leader" if agent is other else "follower"
                put("intake", "anonymous", anonymous_mib(agent.process.p.pid), f"MiB, {who}",
                    instances=RESYNC, tasks=10 * RESYNC)
        follower = next(a for a in c.agents if a.alive() and a is not other)
        put("intake", "cold_start", cold_start(follower, arns[0]), "ms until a row is answered",
            instances=RESYNC, tasks=10 * RESYNC)


def main():
    parts = {"rate": bench_rate, "way": bench_way, "resync": bench_resync,
             "follower": bench_follower}
    for name in os.environ.get("BLOX_INTAKE", ",".join(parts)).split(","):
        parts[name]()
    return 0


sys.exit(main())
