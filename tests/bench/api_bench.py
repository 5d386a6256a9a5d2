#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Answers of one agent (a follower) of a cluster of three, measured by wrk on the same machine:
one task by its ARN, and a list of 1,000 tasks, with 1,000 and 10,000 tasks in the store."""
import re
import shutil
import subprocess
import sys
import urllib.parse

from figures import put
from harness import Cluster, Failure, wait_for

UNITS = {"us": 0.001, "ms": 1.0, "s": 1000.0}
SECONDS = 10
BATCH = 2000  # instances: the cloud takes at most 5,000


def wrk(url, connections):
    r = subprocess.run(["wrk", "-t", str(min(2, connections)), "-c", str(connections), "-d",
                        f"{SECONDS}s", "--latency", url],
                       capture_output=True, text=True, check=True)
    rate = float(re.search(r"Requests/sec:\s+([\d.]+)", r.stdout).group(1))
    p99 = re.search(r"99%\s+([\d.]+)(us|ms|s)", r.stdout)
    bad = re.search(r"Non-2xx or 3xx responses: (\d+)", r.stdout)
    if bad:
        raise Failure(f"{bad.group(1)} answers of {url} were not 2xx")
    return rate, float(p99.group(1)) * UNITS[p99.group(2)]


def measure(agent, tasks):
    arn = agent.get("/v2/tasks?limit=1")["items"][0]["taskArn"]
    base = f"http://127.0.0.1:{agent.api}"
    for name, path, connections in (
            ("get_task_v2", "/v2/tasks/" + urllib.parse.quote(arn, safe=""), 64),
            ("list_1000_v2", "/v2/tasks?limit=1000", 64),
            ("list_1000_v2_one_connection", "/v2/tasks?limit=1000", 1)):
        rate, p99 = wrk(base + path, connections)
        put("api", f"{name}_rate", rate, "requests/s", tasks=tasks, connections=connections)
        put("api", f"{name}_p99", p99, "ms", tasks=tasks, connections=connections)


def main():
    if shutil.which("wrk") is None:
        print("the api benchmark needs wrk (apt install wrk)", file=sys.stderr)
        return 1
    args = ("--settings", '{"throttle":0,"event_duplicate":0,"event_delay_ms":0,"step_ms":5}')
    with Cluster(agents=3, instances=1000, cloud_args=args) as c:
        c.start().wait_ready(120)
        made = instances = 0
        for want, environments in ((1000, 1), (10000, 5)):
            if environments > 1:
                c.cloud.control("add-instances", count=BATCH - 1000)
                instances = BATCH
            else:
                instances = 1000
            for _ in range(made, environments):
                made += 1
                name = f"d{made}"
                c.agents[0].write("POST", "/v2/environments", {
                    "name": name, "cluster": c.name, "taskDefinition": "daemon:1"})
                c.agents[0].write("POST", f"/v2/environments/{name}/deployments", {})
            assert instances * environments == want
            follower = next(a for a in c.agents if not a.leading())
            wait_for(f"{want} tasks at the follower", 600, lambda: len(
                [t for t in follower.items("tasks") if t["lastStatus"] == "RUNNING"]) >= want, 1)
            measure(follower, want)
    return 0


sys.exit(main())
