#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Real agents as members of a cluster of 5,000 whose rows are 5,000 instances and 50,000 tasks: what
one costs at rest, how soon it knows all, and deaths seen by real and other members. All members but
eight agents are those of bench_many (tests/bench/many.h), on loopback.

    ./run bench many
    BLOX_MEMBERS=64 BLOX_ROWS=0 ...    fewer members, no rows
    BLOX_ECS=1 BLOX_TIMES=0 ...        the rows are the local cloud's: ten daemons on 5,000 instances
    BLOX_REST=20 BLOX_TIMES=3 ...      shorter, fewer deaths
    BLOX_HOLD=600 ...                  keep it standing before the end, to look at it"""
import json
import os
import shutil
import subprocess
import sys
import time

from figures import cpu_ns, put, put_spread
from gossip_hosts import when
from harness import BIN, Agent, Cluster, check, wait_for
from others import Others, alive, wakes

MEMBERS = int(os.environ.get("BLOX_MEMBERS", "5000"))
ROWS = os.environ.get("BLOX_ROWS", "") != "0"
REST = int(os.environ.get("BLOX_REST", "60"))
TIMES = int(os.environ.get("BLOX_TIMES", "10"))
HOLD = int(os.environ.get("BLOX_HOLD", "0"))
ECS = os.environ.get("BLOX_ECS", "") == "1"
DAEMONS = 10
COMPARE_S = 180  # between two comparisons with ECS: a window of rest fits in
VOTERS = 7  # five and two spares
NAME = "prod"  # whose rows they are: others are not kept


def of_memory(pid):
    with open(f"/proc/{pid}/smaps_rollup", encoding="ascii") as f:
        rows = {line.split(":")[0]: line.split()[1] for line in f if line.endswith("kB\n")}
    return {k: int(rows[k]) / 1024 for k in ("Anonymous", "Pss", "Rss")}


def counts(agent):
    g = agent.get("/v2/agent")["gossip"]
    return {k: g[k] for k in ("datagrams_sent", "datagrams_received", "bytes_sent",
                              "bytes_received")}


def knew_all(agent):
    """When its log had every other member alive, Unix time."""
    seen = set()
    for line in agent.log_lines():
        if line.get("event") == "member_alive" and line["member"] != agent.id:
            seen.add(line["member"])
            if len(seen) == MEMBERS - 1:
                return when(line)
    return None


def roles(agents):
    leader = [a for a in agents if a.leading()][0]
    doc = leader.get("/v2/leader")
    voters = {v["id"] for v in doc["voters"]}
    spares = {v["id"] for v in doc["learners"]}
    return {a.id: "leader" if a is leader else "voter" if a.id in voters else
            "spare" if a.id in spares else "plain" for a in agents}


def start(cluster, others, agents, template):
    for a in agents[:VOTERS]:
        shutil.copytree(template, os.path.join(a.dir, "data"), dirs_exist_ok=True)
        a.start()
        wait_for("it to see all", 60, lambda a=a: alive(a) >= others.count, 0.5)
    wait_for("voters and spares", 120, lambda: sorted(roles(agents[:VOTERS]).values()) ==
             ["leader"] + 2 * ["spare"] + 4 * ["voter"], 1)
    late(cluster, others, agents[VOTERS], template)


def late(cluster, others, agent, template):
    """One more agent starts: bar 14 at this size, and what a start costs."""
    shutil.copytree(template, os.path.join(agent.dir, "data"), dirs_exist_ok=True)
    others.watch(others.place[agent.id])
    at = time.time()
    agent.start()
    wait_for("the last to see all", 120, lambda: alive(agent) == MEMBERS, 1)
    begun = min(when(line) for line in agent.log_lines() if "time" in line)
    put("many", "process started -> first log line", (begun - at) * 1000, "ms")
    put("many", "process started -> it holds all to be alive", (knew_all(agent) - at) * 1000, "ms",
        members=MEMBERS)
    seen = others.ask("seen")["alive"]
    put_spread("many", "process started -> others hold it to be alive",
               [(t - at) * 1000 for t in seen], "ms")
    put("many", "processor time of its start", cpu_ns(agent.process.p.pid) / 1e6, "ms")


def compared_ms(agent):
    return agent.get("/v2/agent")["intake"]["reconcile"]["last_ok_unix_ms"]


def next_comparison(leader):
    """Waits until one more has ended."""
    last = compared_ms(leader)
    wait_for("a comparison with ECS", 3 * COMPARE_S, lambda: compared_ms(leader) > last, 0.5)


def deploy(agents):
    """A task of each daemon on each of the cloud's instances."""
    leader = [a for a in agents if a.leading()][0]
    wait_for("the instances", 120, lambda: len(leader.items("instances")) == MEMBERS, 1)
    for n in range(DAEMONS):
        leader.write("POST", "/v2/environments",
                     {"name": f"d{n}", "cluster": NAME, "taskDefinition": "daemon:1"})
        leader.write("POST", f"/v2/environments/d{n}/deployments", {})
    wait_for("all tasks", 1200, lambda: DAEMONS == sum(
        d["status"] == "completed" for d in leader.items("deployments")), 2)
    next_comparison(leader)


def comparison(agents):
    """What one comparison of all rows with ECS takes of the leader's processor."""
    leader = [a for a in agents if a.leading()][0]
    next_comparison(leader)
    cpu, at = cpu_ns(leader.process.p.pid), time.monotonic()
    next_comparison(leader)
    put("many", "a comparison with ECS, and the rest until it", (cpu_ns(leader.process.p.pid) - cpu)
        / 1e6, "ms", seconds=time.monotonic() - at)


def rest(others, agents):
    who = roles(agents)
    before_all = others.ask("stats")
    cpu = [cpu_ns(a.process.p.pid) for a in agents]
    woke = [wakes(a) for a in agents]
    said, at = [counts(a) for a in agents], time.monotonic()
    time.sleep(REST)
    over = time.monotonic() - at
    cpu = [(cpu_ns(a.process.p.pid) - c) / 1e7 / over for a, c in zip(agents, cpu)]
    woke = [(wakes(a) - w) / over for a, w in zip(agents, woke)]
    after_all = others.ask("stats")
    for i, a in enumerate(agents):
        role = who[a.id]
        now = counts(a)
        put("many", "cpu", cpu[i], "% of a core", role=role, members=MEMBERS, rows=ROWS)
        put("many", "wakes", woke[i], "1/s", role=role)
        for k, v in now.items():
            put("many", k, (v - said[i][k]) / over, "1/s", role=role)
        for k, v in of_memory(a.process.p.pid).items():
            put("many", k.lower(), v, "MiB", role=role)
        put("many", "sessions of sync begun", after_all["agents"][i]["compared"] -
            before_all["agents"][i]["compared"], "", role=role)
    one = others.count * over
    put("many", "others: datagrams sent by one",
        (after_all["packets"] - before_all["packets"]) / one, "1/s")
    put("many", "others: bytes sent by one, with IP headers",
        (after_all["bytes"] - before_all["bytes"]) / one, "B/s")
    put("many", "others: longest delay of their process", after_all["late_ms"], "ms")
    put("many", "others: least and most members that one holds to live",
        f"{after_all['live_least']}, {after_all['live_most']}", "")
    print(json.dumps(after_all), file=sys.stderr)
    check(after_all["late_ms"] < 100, "the others' process did not keep up: no figures of a cluster")
    put("many", "load average", os.getloadavg()[0], "")
    for a in agents:
        wait_for("all in GET /v2/members", 30, lambda a=a: MEMBERS == sum(
            m["state"] == "alive" for m in a.items("members")), 0.5)


def told(agent, member, since):
    return next((when(line) for line in agent.log_lines() if line.get("event") == "member_failed"
                 and line["member"] == member and when(line) >= since - 0.01), None)


def deaths(others, agents, how):
    """Members of the others end: when does each agent, and each other member, hold them to be
    failed?"""
    real, rest_of_them, missing = [], [], 0
    for n in range(TIMES):
        node = (17 + 37 * (n + (0 if how == "vanish" else TIMES))) % others.count
        others.watch(node)
        dead = others.ask(how, node)
        real += [(t - dead["at"]) * 1000 for t in wait_for(
            f"{how} of {dead['id']}", 30, lambda dead=dead: all(
                told(a, dead["id"], dead["at"]) for a in agents) and
            [told(a, dead["id"], dead["at"]) for a in agents], 0.5)]
        time.sleep(2)
        seen = others.ask("seen")["failed"]
        missing += others.ask("stats")["up"] - len(seen)
        rest_of_them += [(t - dead["at"]) * 1000 for t in seen]
    put_spread("many", f"{how}: agents know", real, "ms", bar="p50 1, p99 1.5 s")
    put_spread("many", f"{how}: other members know", rest_of_them, "ms", missing=missing)


def killed(others, agents):
    """The agent without a vote is killed again and again: when does each other member know?"""
    agent, took, behind = agents[-1], [], []
    for _ in range(TIMES):
        others.watch(others.place[agent.id])
        at = time.time()
        agent.kill()
        time.sleep(4)
        times = others.ask("seen")["failed"]
        took += [(t - at) * 1000 for t in times]
        behind.append(others.ask("stats")["up"] - len(times))
        agent.start()
        time.sleep(8)
    put_spread("many", "kill -9 of an agent: other members know", took, "ms")
    put("many", "kill -9 of an agent: members that did not know after 4 s", sum(behind), "")


def main():
    with Cluster(agents=0, cloud=ECS, name=NAME, instances=MEMBERS if ECS else 0, cloud_args=(
            "--settings", '{"throttle":0,"event_duplicate":0,"event_delay_ms":0}')) as c:
        c.agents = [Agent(c, i + 1) for i in range(VOTERS + 1)]
        template = os.path.join(c.dir, "rows")
        os.makedirs(template)
        if ROWS and not ECS:
            subprocess.run([os.path.join(BIN, "bench_size"), template,
                            "tests/data/ecs-events/synthetic"], check=True, stdout=sys.stderr)
        others = Others(c, c.agents, MEMBERS)
        for a in c.agents:
            a.settings["raft.expect"] = "3"
            a.settings["intake.reconcile_interval"] = f"{COMPARE_S}s"
        try:
            start(c, others, c.agents, template)
            if ECS:
                deploy(c.agents)
            time.sleep(REST)
            rest(others, c.agents)
            if ECS:
                comparison(c.agents)
            if TIMES > 0:
                deaths(others, c.agents, "vanish")
                deaths(others, c.agents, "kill")
                killed(others, c.agents)
            time.sleep(HOLD)
        finally:
            others.end()
    return 0


sys.exit(main())
