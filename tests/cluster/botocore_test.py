#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Every AWS request of a whole run (join by ECS attributes, intake, reconcile, deployments,
failures) is accepted by an independent verifier: botocore's SigV4Auth and ParamValidator."""
import json
import os
import subprocess

from harness import Cluster, Failure, check, request, run, wait_for

VERIFIER = os.path.join(os.path.dirname(os.path.abspath(__file__)),
                        "../compat/verify_requests.py")


def for_verifier(r):
    headers = r["headers"].items() if isinstance(r["headers"], dict) else r["headers"]
    return dict(r, path=r["target"], headers=[f"{name}: {value}" for name, value in headers],
                token=r["token"] or "")


def test():
    with Cluster(agents=3, instances=12) as c:
        for a in c.agents:
            a.settings.update({"gossip.join": "", "gossip.join_ecs": "true"})
        c.start().wait_ready(60)
        a = c.agents[0]
        for name, definition in (("logs", "daemon:1"), ("big", "big:1")):
            a.write("POST", "/v2/environments",
                    {"name": name, "cluster": c.name, "taskDefinition": definition})
            a.write("POST", f"/v2/environments/{name}/deployments", {})
        wait_for("12 tasks", 30, lambda: len(c.cloud.running("daemon:logs")) == 12)
        a.write("POST", "/v2/environments/logs/deployments", {"taskDefinition": "daemon:2"})
        wait_for("12 new tasks", 60, lambda: [
            t[0]["taskDefinitionArn"].split("/")[-1]
            for t in c.cloud.running("daemon:logs").values()] == ["daemon:2"] * 12)
        a.write("DELETE", "/v2/environments/logs?stop_tasks=true")
        wait_for("no tasks", 60, lambda: not c.cloud.running("daemon:logs"))
        status, _, lines = request(c.cloud.port, "GET", "/_control/requests?after=0", timeout=60)
        check(status == 200, f"{status}")
        recorded = [for_verifier(json.loads(line)) for line in lines.splitlines() if line.strip()]
        check(len(recorded) > 50, f"only {len(recorded)} requests were recorded")
        refused = [r for r in recorded if not r["accepted"]]
        check(not refused, f"the cloud itself refused {refused[:1]}")
        text = "".join(json.dumps(r) + "\n" for r in recorded)
    r = subprocess.run(["/usr/bin/python3", VERIFIER], input=text, capture_output=True, text=True,
                       timeout=300)
    print(r.stdout[-1500:])
    if r.returncode != 0:
        raise Failure(f"the verifier refused requests:\n{r.stdout[-3000:]}\n{r.stderr[-3000:]}")


run(test)
