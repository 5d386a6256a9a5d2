#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Rows of the leader, asked of a follower: what is only in the leader's rows is seen there; a new
leader answers after the old one died; without one there is a 503 that says so."""
import json
import os
import subprocess

from harness import BIN, Cluster, check, run, wait_for

INSTANCES = 40


def ask(agent, path):
    status, headers, body = agent.request("GET", path, timeout=30)
    return status, {k.lower(): v for k, v in headers.items()}, body


def arns(body):
    return sorted(i["containerInstanceArn"] for i in body["items"])


def ask_rows(c, a):
    """False if the leader was another one afterwards."""
    leader = c.wait_leader()
    status, headers, body = ask(a, "/v2/instances?consistency=leader&limit=1000")
    want = arns({"items": leader.items("instances")})
    if c.leader() is not leader:
        return False
    check(status == 200 and arns(body) == want, f"{status} {str(body)[:300]}")
    check(headers["blox-consistency"] == "leader", headers)
    sent_to = headers.get("blox-forwarded-to")
    name = None if a is leader else leader.get("/v2/agent")["id"]
    check(sent_to == name, f"{a.number}: {sent_to}, not {name}")
    return True


def test():
    with Cluster(agents=3, instances=INSTANCES) as c:
        c.start().wait_ready(60)
        for a in c.agents:
            wait_for("the instances", 30, lambda: len(a.items("instances")) == INSTANCES)
        for a in c.agents:
            wait_for(f"rows of the leader by agent {a.number}", 30, lambda a=a: ask_rows(c, a))
            status, headers, body = ask(a, "/v2/tasks/none?consistency=leader")
            check(status == 404 and body["type"].endswith("/not-found"), f"{status} {body}")
            shown = subprocess.run(
                [os.path.join(BIN, "blox"), "get", "instances", "-o", "json", "--address",
                 f"127.0.0.1:{a.api}", "--consistency", "leader", "--fields", "containerInstanceArn"],
                capture_output=True, check=True).stdout
            check(len(json.loads(shown)["items"]) == INSTANCES, shown[:300])
            check(ask(a, "/v2/summary?consistency=leader")[2]["instances"]["total"] == INSTANCES,
                  "the leader's summary")

        leader = c.wait_leader()
        leader.kill()
        others = [a for a in c.agents if a is not leader]
        path = "/v2/instances?consistency=leader&limit=1000"
        wait_for("the rows of the next leader", 30,
                 lambda: len(ask(others[0], path)[2].get("items", [])) == INSTANCES)
        c.wait_leader(30)
        others[1].kill()
        wait_for("the last one to be without a leader", 30,
                 lambda: ask(others[0], "/v2/agent")[1]["blox-leader"] == "none")
        status, headers, body = ask(others[0], "/v2/instances?consistency=leader")
        check(status == 503 and body["type"].endswith("/no-leader") and "consistency" in
              body["detail"], f"without a leader: {status} {str(body)[:300]}")
        check(headers["blox-consistency"] == "local" and headers["retry-after"] == "1", headers)
        check(len(others[0].items("instances")) == INSTANCES, "its own rows are there all the same")


run(test)
