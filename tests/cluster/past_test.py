#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Why was this task started, and what was here before? Any agent answers, also after a restart."""
import time

from harness import Cluster, check, run, wait_for


def now():
    t = time.time()
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(t)) + f".{int(t * 1000) % 1000:03d}Z"


def why(agent, arn):
    return agent.get("/v2/decisions?task=" + arn)["items"]


def test():
    with Cluster(agents=3, instances=3) as c:
        c.start().wait_ready()
        agent = c.agents[1]
        wait_for("the instances", 20, lambda: len(agent.items("instances")) == 3)
        before = now()
        time.sleep(0.01)
        agent.write("POST", "/v2/environments",
                    {"name": "logs", "cluster": c.name, "taskDefinition": "daemon:1"})
        made = agent.write("POST", "/v2/environments/logs/deployments", {})
        wait_for("tasks on every agent", 30, lambda: all(
            len([t for t in a.items("tasks") if t["lastStatus"] == "RUNNING"]) == 3
            for a in c.agents))
        def settled():
            items = agent.get("/v2/decisions")["items"]
            return len(items) >= 3 and all("settled_at" in d for d in items)
        wait_for("nothing is open any more", 30, settled)
        for a in c.agents:
            for task in a.items("tasks"):
                found = wait_for(f"the decision at agent {a.number}", 20,
                                 lambda a=a, t=task: why(a, t["taskArn"]))
                check(len(found) == 1, f"agent {a.number}: {found}")
                check(found[0]["environment"] == "logs" and found[0]["reason"], found)
                check(found[0]["containerInstanceArn"] == task["containerInstanceArn"], found)
                check(found[0]["deployment"] == task["startedBy"], found)
        agent.stop()
        agent.start()
        wait_for("its rows", 20, lambda: len(agent.items("tasks")) == 3)
        check(agent.get(f"/v2/tasks?at={before}")["items"] == [], "tasks of before the deployment")
        check(len(agent.get(f"/v2/instances?at={before}")["items"]) == 3, "instances of then")
        check(len(why(agent, agent.items("tasks")[0]["taskArn"])) == 1, "a decision of before")
        status, _, body = agent.request("GET", "/v2/tasks?at=2020-01-01T00:00:00Z")
        check(status == 410 and body["code"] == "past-gone", f"{status} {body}")
        print(f"decisions of deployment {made['id']} are told by all")


if __name__ == "__main__":
    run(test)
