#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""blox backup and blox restore: into the same cluster after a loss by hand, and into another one,
which refuses it until told; damaged files change nothing. Strong reads see writes at once."""
import json
import os

import harness
from harness import Cluster, check, run


def blox(agent, *args, expect=0):
    _, out, err = harness.blox(agent, *args, expect=expect)
    return out if expect == 0 else err


def fill(c, count, deployments):
    for n in range(count):
        a = c.agents[n % len(c.agents)]
        a.write("POST", "/v2/environments", {"name": f"e{n}", "cluster": c.name,
                                             "taskDefinition": "daemon:1"})
        # The next agent, at once: a strong read sees what was acknowledged elsewhere.
        b = c.agents[(n + 1) % len(c.agents)]
        got = b.get(f"/v2/environments/e{n}?consistency=strong")
        check(got["name"] == f"e{n}" and got["id"] == f"e{n}", f"strong read: {got}")
        for _ in range(deployments if n == 0 else 0):
            b.write("POST", "/v2/environments/e0/deployments", {})
    listed = c.agents[0].get("/v2/environments?consistency=strong")["items"]
    check({e["name"] for e in listed} == {f"e{n}" for n in range(count)}, f"listed {listed}")


def rows(agent):
    """{environment: ids of its deployments}, linearizable."""
    out = {}
    for e in agent.get("/v2/environments?consistency=strong")["items"]:
        path = f"/v2/environments/{e['name']}/deployments?consistency=strong"
        out[e["name"]] = {d["id"] for d in agent.get(path)["items"]}
    return out


def test():
    with Cluster(agents=3, instances=3, name="one") as c:
        c.start().wait_ready(60)
        fill(c, 5, 12)
        before = rows(c.agents[0])
        path = os.path.join(c.dir, "backup.json")
        text = blox(c.agents[1], "backup")
        with open(path, "w", encoding="utf-8") as f:
            f.write(text)
        a = c.agents[2]
        a.write("DELETE", "/v2/environments/e0")
        a.write("DELETE", "/v2/environments/e1")
        a.write("PUT", "/v2/environments/e2", {"expression": "attribute:x == y"})
        a.write("POST", "/v2/environments/e2/deployments", {})
        check("5 environments restored" in blox(a, "restore", path), "restore")
        after = rows(c.agents[0])
        check(all(before[e] <= after[e] for e in before), f"{before} became {after}")
        e2 = c.agents[1].get("/v2/environments/e2?consistency=strong")
        check(e2["expression"] == "" and e2["revision"] > 2, f"restored {e2}")
        blox(a, "restore", path)
        check(rows(a) == after, "restoring twice changed something")

        for damaged in (text[:-40], text.replace("daemon", "demon", 1), "{}", ""):
            with open(path + ".bad", "w", encoding="utf-8") as f:
                f.write(damaged)
            check("no whole backup" in blox(a, "restore", path + ".bad", expect=1), "damaged")
        bad = json.loads(text)
        bad["environments"][0]["row"]["revision"] = -1
        status, _, out = a.ask("PUT", "/v2/intent", bad)
        check(status == 400, f"a bad row: {status} {out}")
        status, _, out = a.ask("GET", "/v2/environments/none?consistency=strong")
        check(status == 404, f"none: {status} {out}")
        with Cluster(agents=1, instances=1, name="two") as other:
            other.start().wait_ready(60)
            b = other.agents[0]
            check("--force" in blox(b, "restore", path, expect=6), "a foreign cluster's backup")
            check(rows(b) == {}, "refused, yet something came")
            blox(b, "restore", path, "--force")
            check(rows(b) == before, f"{rows(b)} is not {before}")


run(test)
