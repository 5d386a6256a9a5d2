#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""blox propagate: every member says when it had all test records; the records are logged by each and
go away; `blox members why` tells what is known of a killed member."""
import json
import time

from harness import Cluster, blox, check, run, wait_for


def applied(agent):
    return [line["key"] for line in agent.log_lines() if line.get("event") == "record_applied"]


def measure(c):
    ids = {m["id"] for m in c.agents[0].items("members")}
    runs = []

    def all_in_time():  # which a busy machine may not manage at once
        runs.append(c.agents[1].write("POST", "/v2/agent/propagate", {"count": 20, "bytes": 300}))
        return runs[-1]["all"]
    wait_for("all members to have the records in time", 60, all_in_time)
    out, total = runs[-1], 20 * len(runs)
    check(not out["missing"], f"not all members had the records: {out}")
    check({m["id"] for m in out["members"]} == ids, f"members of the answer: {out}")
    check(0 < out["p50_ms"] <= out["p99_ms"] <= out["last_ms"], f"percentiles: {out}")
    for a in c.agents:
        wait_for(f"{total} log lines", 60, lambda a=a: len(applied(a)) >= total)
        check(len(set(applied(a))) == len(applied(a)) == total, "a record was applied twice")
    code, text, err = blox(c.agents[2], "propagate", "--count", "1000", "--bytes", "250")
    check(code == 0 and "5 of 5 members" in text, f"blox propagate: {code} {text} {err}")
    print(text.strip())


def largest(c):
    """More than gossip holds in memory: it reads again from the store what it has to send."""
    for body in ({"count": 64, "bytes": 65536}, {"count": 1000, "bytes": 4194}):
        def all_in_time(body=body):
            out = c.agents[3].write("POST", "/v2/agent/propagate", {**body, "timeout_ms": 30000})
            check(out["all"] and out["count"] == body["count"], f"not all have {body}: {out}")
            return out
        out = wait_for("the largest run", 60, all_in_time)
        print(f"{body}: last {out['last_ms']} ms")


def in_quick_succession(c):
    """Of one agent alone, so that some fall into the same millisecond."""
    c.start()
    wait_for("the agent", 30, lambda: c.agents[0].items("members"))
    for _ in range(200):
        out = c.agents[0].write("POST", "/v2/agent/propagate", {"timeout_ms": 20000})
        check(out["all"], f"a run on the heels of another: {out}")


def rows(agent):
    _, _, text = agent.request("GET", "/metrics")
    return int(next(x for x in text.splitlines() if x.startswith("blox_store_rows ")).split()[1])


def go_away(c):
    """However many they are, a minute later."""
    a = c.agents[0]
    for _ in range(25):
        out = a.write("POST", "/v2/agent/propagate", {"count": 1000, "timeout_ms": 20000})
        check(out["all"], f"a run of an agent alone: {out}")
    check(rows(a) >= 25000, f"only {rows(a)} rows")
    time.sleep(60)
    wait_for("test records to go", 30, lambda: rows(a) < 1000)


def refuse(c):
    for body in ({"count": 0}, {"count": 1001}, {"bytes": -1}, {"count": 1000, "bytes": 60000},
                 {"timeout_ms": 5}, {"count": "1"}, {"cuont": 1}):
        status, _, out = c.agents[0].request("POST", "/v2/agent/propagate", body)
        check(status == 400, f"{body} was answered {status} {out}")


def one_paused(c):
    victim = c.agents[4]
    name = victim.get("/v2/agent")["id"]
    victim.pause()
    def only_it_is_missing():
        out = c.agents[0].write("POST", "/v2/agent/propagate", {"timeout_ms": 5000})
        check(not out["all"] and out["missing"] == [name], f"with one paused: {out}")
        return True
    wait_for("an answer that only the paused one is missing in", 25, only_it_is_missing)
    victim.resume()
    return victim, name


def probes_told(agent, name):
    """Who did not probe the dead asks those that did, and each accuser has something to tell."""
    own = agent.get("/v2/agent")["id"]
    def told():
        out = agent.get(f"/v2/members/{name}/why")
        accusers = {out["suspected_by"], *out["confirmed_by"]} - {own}
        check({p["by"] for p in out["probes"]} == accusers, f"probes of others: {out}")
        check(all(p["direct_unanswered"] > 0 for p in out["probes"]), f"an empty one: {out}")
        check(out["probes"] or out["own_probes"]["direct_unanswered"] > 0, f"nobody's: {out}")
        code, text, _ = blox(agent, "members", "why", name)
        check(code == 0 and "unanswered" in text, f"no probes in: {text}")
        return True
    wait_for(f"what the probes of {name} saw, at {own}", 20, told)


def why(c, victim, name):
    wait_for("all alive again", 20, lambda: all(
        m["state"] == "alive" for m in c.agents[0].items("members")))
    code, text, err = blox(c.agents[0], "members", "why", name)
    check(code == 0 and name in text, f"members why of one alive: {code} {text} {err}")
    victim.kill()
    wait_for("the failure", 20, lambda: c.agents[0].get(f"/v2/members/{name}/why")["state"]
             == "failed")
    out = c.agents[0].get(f"/v2/members/{name}/why")
    check(out["suspected_by"] and out["failed_by"], f"why does not say who: {out}")
    code, text, err = blox(c.agents[0], "members", "why", name)
    check(code == 0 and "suspected" in text, f"members why: {code} {text} {err}")
    print(text.strip())
    for a in c.agents[:4]:
        probes_told(a, name)
    code, text, _ = blox(c.agents[0], "-o", "json", "members", "why", name)
    check(code == 0 and json.loads(text)["member"] == name, "why as JSON")
    code, _, err = blox(c.agents[0], "members", "why", "nobody")
    check(code == 3, f"why of nobody: {code} {err}")
    code, text, _ = blox(c.agents[0], "members", "-o", "wide")
    check(code == 0 and "INCARNATION" in text, text)


def says(agent, name, *words):
    """That agent explains a member in these words."""
    def it_says():
        code, text, err = blox(agent, "members", "why", name)
        check(code == 0 and all(w in text for w in words), f"why {name}: {code} {text} {err}")
        return text
    return wait_for(f"members why with {words}", 30, it_says)


def every_end(c, victim, name):
    """Whatever became of a member, any other agent says how, and what was before."""
    a, b = c.agents[0], c.agents[2]
    victim.start()
    for agent in (a, b):
        says(agent, name, "is alive", ": returned", "before that, it was\nsuspected", "failed ")
    victim.pause()
    for agent in (a, b):
        text = says(agent, name, "is degraded", "gets no answer from it, but its host answers")
        check("failed" not in text, f"that was another time: {text}")
    victim.resume()
    for agent in (a, b):
        says(agent, name, "is alive", "it answered for itself with incarnation")
    check("heard" not in says(victim, name, "is alive", "this agent   incarnation"), "of itself")
    victim.stop()
    for agent in (a, b):
        print(says(agent, name, "is left", "it said that it leaves", "before that, it was"))


def test():
    with Cluster(agents=5, cloud=False) as c:
        c.start()
        wait_for("five members", 30, lambda: all(
            len([m for m in a.items("members") if m["state"] == "alive"]) == 5 for a in c.agents))
        measure(c)
        largest(c)
        refuse(c)
        victim, name = one_paused(c)
        why(c, victim, name)
        every_end(c, victim, name)
    with Cluster(agents=1, cloud=False) as c:
        in_quick_succession(c)
        go_away(c)


run(test)
