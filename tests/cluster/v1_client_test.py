#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""What Blox 0.3's own clients and integration tests do, call by call, against real agents: the
scheduler's round over the state service's API, the life of an environment, a stream that is followed.
Headers and escapes are those of Go's HTTP client, which the generated clients are built on."""
import gzip
import http.client
import json
import threading
import time
import urllib.parse

from harness import Cluster, check, run, wait_for

GO = {"User-Agent": "Go-http-client/1.1", "Accept-Encoding": "gzip"}


class Client:
    """A generated client: text/plain is decoded as a sentence, JSON as an object."""

    def __init__(self, port):
        self.port = port

    def call(self, *args, **kwargs):
        """Again while a leader is elected, when a write says that nothing was changed."""
        end = time.monotonic() + 60
        while True:
            status, value = self.call_once(*args, **kwargs)
            if status != 503 or time.monotonic() >= end:
                return status, value
            time.sleep(0.2)

    def call_once(self, method, path, query=None, body=None, accept="application/json"):
        target = "/v1" + urllib.parse.quote(path, safe="/:@-_.~")
        if query:
            target += "?" + urllib.parse.urlencode(sorted(query.items()))
        data = None if body is None else (json.dumps(body) + "\n").encode()
        headers = {**GO, "Accept": accept}
        if method in ("POST", "PUT", "DELETE"):
            headers["Content-Type"] = "application/json"
        link = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        link.request(method, target, data, headers)
        answer = link.getresponse()
        raw = answer.read()
        if answer.headers.get("Content-Encoding") == "gzip":
            raw = gzip.decompress(raw)
        kind = answer.headers["Content-Type"].split(";")[0]
        link.close()
        if answer.status >= 400:
            check(kind == "text/plain", f"{target}: an error as {kind}")
            return answer.status, raw.decode()
        check(kind == ("text/plain" if method == "DELETE" else "application/json"), f"{target}: {kind}")
        return answer.status, json.loads(raw) if raw else None

    def ok(self, *args, **kwargs):
        status, value = self.call(*args, **kwargs)
        check(status == 200, f"{args}: {status} {value}")
        return value


def follow(port, kind, seen):
    """A stream's lines as they come, from now on."""
    link = http.client.HTTPConnection("127.0.0.1", port, timeout=300)
    link.request("GET", f"/v1/stream/{kind}", headers={**GO, "Accept": "application/octet-stream"})
    answer = link.getresponse()
    check(answer.status == 200, f"stream: {answer.status}")

    def read():
        while line := answer.readline():
            seen.append(json.loads(line))
    threading.Thread(target=read, daemon=True).start()


def life_of_an_environment(c, client):
    """Blox's end-to-end test of the scheduler."""
    request = {"name": "e2e", "instanceGroup": {"cluster": c.name}, "taskDefinition": "daemon:1"}
    made = client.ok("POST", "/environments", body=request)
    check(made["health"] == "healthy" and made["name"] == "e2e", made)
    check(made["instanceGroup"]["cluster"].endswith(":cluster/" + c.name), made)
    wait_for("the environment on this agent", 10,
             lambda: client.call("GET", "/environments/e2e") == (200, made))
    for cluster in (c.name, made["instanceGroup"]["cluster"]):
        names = [e["name"] for e in client.ok("GET", "/environments", {"cluster": cluster})["items"]]
        check(names == ["e2e"], names)
    status, text = client.call("POST", "/environments", body=request)
    check((status, text) == (400, "Error saving environment e2e to store: "
                             "An environment with name e2e already exists\n"), f"{status} {text}")

    token = {"deploymentToken": made["deploymentToken"]}
    begun = client.ok("POST", "/environments/e2e/deployments", token)
    check(begun["status"] in ("pending", "running") and begun["environmentName"] == "e2e", begun)
    status, text = client.call("POST", "/environments/e2e/deployments", token)
    check((status, text) == (400, f"Deployment with token '{made['deploymentToken']}' already exists\n"),
          f"a token twice: {status} {text}")
    other = "00000000-0000-4000-8000-000000000000"
    status, text = client.call("POST", "/environments/e2e/deployments", {"deploymentToken": other})
    check(status == 400 and text.startswith(f"Token '{other}' is outdated and does not match the "
                                            "environment token '"), f"{status} {text}")
    path = "/environments/e2e/deployments/" + begun["id"]
    wait_for("the deployment completed", 30,
             lambda: client.ok("GET", path)["status"] == "completed")
    listed = client.ok("GET", "/environments/e2e/deployments")["items"]
    check([d["id"] for d in listed] == [begun["id"]] and not listed[0]["failedInstances"], listed)
    return begun["id"]


def round_of_the_scheduler(client, cluster, deployment, instances):
    """Blox's scheduler over Blox's state service: instances, tasks by deployment, each by ARN."""
    wait_for("a running task on each instance", 30,
             lambda: len(client.ok("GET", "/tasks", {"status": "running", "cluster": cluster,
                                                     "startedBy": deployment})["items"]) == instances)
    active = wait_for("all instances", 20, lambda: (lambda found: found if len(found) == instances
                      else None)(client.ok("GET", "/instances", {
                          "cluster": cluster, "status": "active"})["items"]))
    tasks = client.ok("GET", "/tasks", {"startedBy": deployment})["items"]
    on = sorted(t["entity"]["containerInstanceARN"] for t in tasks)
    check(on == sorted(i["entity"]["containerInstanceARN"] for i in active), on)
    name = cluster.rsplit("/", 1)[-1]
    for task in tasks:
        entity = task["entity"]
        one = client.ok("GET", f"/tasks/{name}/{entity['taskARN']}")
        check(one["entity"]["taskARN"] == entity["taskARN"], one)
        at = client.ok("GET", f"/instances/{name}/{entity['containerInstanceARN']}")
        check(at["entity"]["agentConnected"] is True, at)


def test():
    with Cluster(agents=3, instances=3) as c:
        c.start().wait_ready()
        client = Client(c.agents[1].api)
        client.ok("GET", "/ping")
        seen = []
        follow(c.agents[2].api, "tasks", seen)
        deployment = life_of_an_environment(c, client)
        cluster = client.ok("GET", "/environments/e2e")["instanceGroup"]["cluster"]
        round_of_the_scheduler(client, cluster, deployment, 3)
        wait_for("the stream told of all three", 30,
                 lambda: len({r["entity"]["taskARN"] for r in seen
                              if r["entity"].get("startedBy") == deployment}) == 3)
        versions = [int(r["metadata"]["entityVersion"]) for r in seen]
        check(versions == sorted(versions), f"versions {versions}")
        check(client.call("DELETE", "/environments/e2e")[0] == 200, "delete")
        wait_for("it is gone", 10, lambda: client.call("GET", "/environments/e2e")[0] == 404)
        check(client.call("DELETE", "/environments/e2e")[0] == 200, "deleting the absent")
        print("Blox's clients found all that they expect")


if __name__ == "__main__":
    run(test)
