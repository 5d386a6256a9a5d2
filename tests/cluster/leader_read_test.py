#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Rows of the leader, asked of a follower: what is only in the leader's rows is seen there; a new
leader answers after the old one died; without one there is a 503 that says so. Strong reads are
answered by a leader that a majority confirms only."""
import json
from concurrent.futures import ThreadPoolExecutor

from harness import Cluster, blox, check, run, wait_for

INSTANCES = 40


def ask(agent, path):
    status, headers, body = agent.request("GET", path, timeout=30)
    return status, {k.lower(): v for k, v in headers.items()}, body


def arns(body):
    return sorted(i["containerInstanceArn"] for i in body["items"])


def ask_rows(c, a, word):
    """False if the leader was another one afterwards."""
    leader = c.wait_leader()
    status, headers, body = ask(a, f"/v2/instances?consistency={word}&limit=1000")
    want = arns({"items": leader.items("instances")})
    if c.leader() is not leader:
        return False
    check(status == 200 and arns(body) == want, f"{status} {str(body)[:300]}")
    check(headers["blox-consistency"] == word, headers)
    sent_to = headers.get("blox-forwarded-to")
    name = None if a is leader else leader.get("/v2/agent")["id"]
    check(sent_to == name, f"{a.number}: {sent_to}, not {name}")
    return True


def ask_pages(a, word):
    """All instances' ARNs by pages of 15; None if the leader changed between two."""
    found, token = [], ""
    while True:
        status, _, body = ask(a, f"/v2/instances?consistency={word}&limit=15&next_token={token}")
        if status == 410:
            return None
        check(status == 200, f"a page: {status} {str(body)[:300]}")
        found += arns(body)
        token = body.get("next_token")
        if not token:
            return found


def ask_strong(leader):
    """It does not know yet that it leads no more, and must not say so."""
    status, headers, body = ask(leader, "/v2/instances?consistency=strong")
    check(status == 503 and headers["blox-consistency"] == "local" and
          "consistency=strong" in body["detail"],
          f"strong without a majority: {status} {headers} {str(body)[:300]}")


def ask_without_leader(agent):
    wait_for("it to be without a leader", 30,
             lambda: ask(agent, "/v2/agent")[1]["blox-leader"] == "none")
    status, headers, body = ask(agent, "/v2/instances?consistency=leader")
    check(status == 503 and body["type"].endswith("/no-leader") and "consistency" in
          body["detail"], f"without a leader: {status} {str(body)[:300]}")
    check(headers["blox-consistency"] == "local" and headers["retry-after"] == "1", headers)


def ask_without_majority(c):
    """The leader alone. Both are held for two elections before they are refused."""
    leader = c.wait_leader()
    others = [a for a in c.agents if a is not leader]
    for a in others:
        a.pause()
    try:
        with ThreadPoolExecutor(2) as pool:
            for future in [pool.submit(what, leader) for what in (ask_strong, ask_without_leader)]:
                future.result()
        status, _, body = ask(leader, "/v2/instances?consistency=local")
        check(status == 200 and len(body["items"]) == INSTANCES, "its own rows are there all the same")
    finally:
        for a in others:
            a.resume()
    c.wait_leader(30)


def test():
    with Cluster(agents=3, instances=INSTANCES) as c:
        c.start().wait_ready(60)
        for a in c.agents:
            wait_for("the instances", 30, lambda: len(a.items("instances")) == INSTANCES)
        for a in c.agents:
            for word in ("leader", "strong"):
                wait_for(f"rows of the leader by agent {a.number}", 30,
                         lambda a=a, word=word: ask_rows(c, a, word))
                pages = wait_for("pages", 30, lambda a=a, word=word: ask_pages(a, word))
                check(len(set(pages)) == len(pages) == INSTANCES, f"pages: {pages}")
            status, _, body = a.ask("GET", "/v2/tasks/none?consistency=leader")
            check(status == 404 and body["type"].endswith("/not-found"), f"{status} {body}")
            _, shown, _ = blox(a, "get", "instances", "-o", "json", "--consistency", "leader",
                               "--fields", "containerInstanceArn", expect=0)
            check(len(json.loads(shown)["items"]) == INSTANCES, shown[:300])
            check(a.get("/v2/summary?consistency=leader")["instances"]["total"] == INSTANCES,
                  "the leader's summary")

        ask_without_majority(c)
        leader = c.wait_leader()
        leader.kill()
        others = [a for a in c.agents if a is not leader]
        path = "/v2/instances?consistency=strong&limit=1000"
        wait_for("the rows of the next leader", 30,
                 lambda: len(ask(others[0], path)[2].get("items", [])) == INSTANCES)


run(test)
