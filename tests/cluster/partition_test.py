#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Five agents on five hosts (network namespaces), the cloud on a sixth: the leader is cut off from
the others but not from the cloud; packets are lost; processes stop for 10 s; two of three voters
are killed. Measured times are printed, bounds are generous. Needs root; else it is skipped.

    python3 tests/cluster/partition_test.py [CASE...]"""
import sys
import time

import netns
from harness import check, run, wait_for
from netns import Net, NetCluster

AGENTS = 5
INSTANCES = 12
GROUP = "daemon:web"
HOSTS = ["cloud"] + [f"a{i + 1}" for i in range(AGENTS)]
ACTS = ("StartTask", "StopTask", "RunTask")
# After this the old leader's lease is over whatever the machine does; the lease itself is shorter
# than silence is borne before an election (0.7 s).
LEASE_S = 5


def active(c):
    return {i["containerInstanceArn"] for i in c.cloud.truth()["instances"]
            if i["status"] == "ACTIVE"}


def covered(c):
    live = c.cloud.running(GROUP)
    return set(live) == active(c) and all(
        len(t) == 1 and t[0]["lastStatus"] == "RUNNING" for t in live.values())


def started_in_all(c):
    """Tasks of the group that were ever started."""
    return len([t for t in c.cloud.truth()["tasks"] if t.get("group") == GROUP])


def states(agent):
    """{id: state} of all members as that agent sees them."""
    return {m["id"]: m["state"] for m in agent.items("members")}


def identity(agent):
    return agent.get("/v2/agent")["id"]


def leader_of(agents):
    """The one that may act, among those that run."""
    for a in agents:
        if a.alive() and a.get("/v2/leader").get("may_act"):
            return a
    return None


def one_view(c):
    """All members alive in the eyes of all, one leader, the same rows everywhere as in the cloud."""
    if any(set(states(a).values()) != {"alive"} or len(states(a)) != AGENTS for a in c.agents):
        return False
    if len({a.get("/v2/agent").get("leader") for a in c.agents}) != 1:
        return False
    truth = c.cloud.truth()
    want = {t["taskArn"]: (t["version"], t["lastStatus"]) for t in truth["tasks"]}
    want.update({i["containerInstanceArn"]: (i["version"], i["status"])
                 for i in truth["instances"]})
    for a in c.agents:
        have = {t["taskArn"]: (t["version"], t["lastStatus"]) for t in a.items("tasks")}
        have.update({i["containerInstanceArn"]: (i["version"], i["status"])
                     for i in a.items("instances")})
        if have != want:
            return False
    return True


def since(start):
    return f"{time.monotonic() - start:.2f} s"


def settle(c, what, seconds=60):
    start = time.monotonic()
    wait_for(f"{what}: one view, rows equal", seconds, lambda: one_view(c), 0.2)
    print(f"  {what}: one view and equal rows after {since(start)}")


def deploy(c, definition):
    """Creates or rolls the environment through any agent; waits until all is covered."""
    a = c.agents[0]
    if not [e for e in a.items("environments") if e["name"] == "web"]:
        a.write("POST", "/v2/environments",
                {"name": "web", "cluster": c.name, "taskDefinition": definition})
    d = a.write("POST", "/v2/environments/web/deployments", {"taskDefinition": definition})
    start = time.monotonic()
    wait_for(f"{definition} on all", 90, lambda: covered(c) and all(
        t[0]["startedBy"] == d["id"].split("/")[-1] for t in c.cloud.running(GROUP).values()), 0.2)
    print(f"  {definition} covers {INSTANCES} instances after {since(start)}")


def case_cut(c):
    """The leader loses the others, not the cloud."""
    old = wait_for("a leader", 30, lambda: leader_of(c.agents))
    rest = [a for a in c.agents if a is not old]
    start, cut_at = time.monotonic(), netns.wall()
    c.net.part({old.host}, {a.host for a in rest})
    # Work that both sides see, so that an old leader that went on acting would show.
    c.cloud.control("add-instances", count=3)
    new = wait_for("another leader", 30, lambda: leader_of(rest))
    print(f"  agent {new.number} may act {since(start)} after agent {old.number} was cut off")
    wait_for("the old leader to know", 30, lambda: not old.get("/v2/leader").get("may_act"))
    print(f"  the old one knows after {since(start)}")
    wait_for("the new instances covered", 60, lambda: covered(c), 0.2)
    print(f"  the new instances are covered after {since(start)}")
    wait_for("the majority to see it failed", 60,
             lambda: all(states(a)[identity(old)] == "failed" for a in rest), 0.2)
    print(f"  the majority holds it to be failed after {since(start)}")
    time.sleep(LEASE_S)
    c.cloud.control("add-instances", count=1)
    wait_for("a further instance covered", 60, lambda: covered(c), 0.2)
    asked = [e for e in c.cloud.asked(cut_at)
             if e["from"] == old.address and e["target"].split(".")[-1] in ACTS]
    last = max((e["t"] - cut_at for e in asked), default=None)
    print("  last act of the old leader after the cut: " +
          ("none" if last is None else f"{last:.2f} s"))
    check(last is None or last <= LEASE_S,
          f"the old leader acted {last} s after it was cut off: {asked[-3:]}")
    by_new = [e for e in c.cloud.asked(cut_at) if e["from"] == new.address]
    check(by_new, "the log of requests shows none of the new leader: it sees nothing")
    c.net.heal()
    settle(c, "healed")
    check(covered(c), "not one task each after the healing")


def case_loss(c):
    """5 % of all packets are lost: nobody is failed falsely, a deployment completes."""
    how = [c.net.lose(a.host, 5) for a in c.agents] + [c.net.lose("cloud", 5)]
    if "" in how:
        print("  SKIPPED: neither netem nor iptables' statistic match is here")
        return
    print(f"  5 % loss at every host by {how[0]}")
    before = [len(list(failures(a))) for a in c.agents]
    deploy(c, "daemon:2")
    seen, end = {}, time.monotonic() + 60
    while time.monotonic() < end:
        for a in c.agents:
            for s in states(a).values():
                seen[s] = seen.get(s, 0) + 1
        time.sleep(0.25)
    for a in c.agents:
        c.net.lose(a.host, 0)
    c.net.lose("cloud", 0)
    print(f"  states seen in 60 s: {seen}")
    check("failed" not in seen, f"falsely failed: {seen}")
    after = [len(list(failures(a))) for a in c.agents]
    check(before == after, f"deaths declared under loss: {before} -> {after}")
    settle(c, "loss ended")


def failures(agent):
    for e in agent.log_lines():
        if e.get("event") == "member_failed":
            yield e


def pause(c, victim, what):
    others = [a for a in c.agents if a is not victim]
    who, count = identity(victim), started_in_all(c)
    start, seen, led = time.monotonic(), {}, None
    victim.pause()
    try:
        # 10 s, or longer where a busy machine needs longer to see it.
        while time.monotonic() < start + (10 if led and {"degraded", "failed"} & set(seen) else 60):
            for a in others:
                s = states(a)[who]
                if s not in seen:
                    seen[s] = time.monotonic() - start
            if led is None and leader_of(others):
                led = time.monotonic() - start
            time.sleep(0.05)
    finally:
        victim.resume()
    resumed = time.monotonic()
    print(f"  {what} stopped: " + ", ".join(f"{s} after {t:.2f} s" for s, t in seen.items()))
    check({"degraded", "failed"} & set(seen), f"a stopped {what} was shown as {set(seen)} only")
    check(led is not None, "nobody led in those 10 s")
    print(f"  one of the others may act after {led:.2f} s")
    wait_for(f"the {what} back", 60,
             lambda: all(states(a)[who] == "alive" for a in others), 0.05)
    print(f"  alive for all {since(resumed)} after it went on")
    settle(c, f"{what} went on")
    time.sleep(3)
    check(started_in_all(c) == count,
          f"{started_in_all(c) - count} tasks were started because the {what} stopped")


def case_stop_follower(c):
    leader = wait_for("a leader", 30, lambda: leader_of(c.agents))
    pause(c, next(a for a in c.agents if a is not leader), "follower")


def case_stop_leader(c):
    leader = wait_for("a leader", 30, lambda: leader_of(c.agents))
    pause(c, leader, "leader")


def three_voters(c):
    leader = leader_of(c.agents)
    voters = [v["id"] for v in leader.get("/v2/leader")["voters"]] if leader else []
    return (leader, voters) if len(voters) == 3 else None


def case_kill_voters(c):
    """kill -9 of two of the three voters: nobody acts; they come back, and all goes on."""
    leader, voters = wait_for("three voters", 60, lambda: three_voters(c))
    by_id = {identity(a): a for a in c.agents}
    victims = [by_id[v] for v in voters if by_id[v] is leader] + \
        [by_id[v] for v in voters if by_id[v] is not leader][:1]
    left = [a for a in c.agents if a not in victims]
    start, killed_at, count = time.monotonic(), netns.wall(), started_in_all(c)
    for a in victims:
        a.kill()
    time.sleep(LEASE_S)
    check(leader_of(left) is None, "somebody leads with one voter of three")
    acts = [e for e in c.cloud.asked(killed_at + LEASE_S) if e["target"].split(".")[-1] in ACTS]
    check(not acts, f"somebody acted without a quorum: {acts}")
    rows = len(left[0].items("tasks"))
    check(rows > 0, "no rows without a quorum: reads must go on")
    restarted = time.monotonic()
    for a in victims:
        a.start()
    new = wait_for("a leader again", 60, lambda: leader_of(c.agents))
    print(f"  two voters killed, started again after {restarted - start:.1f} s; "
          f"agent {new.number} may act {since(restarted)} later")
    settle(c, "voters are back")
    time.sleep(3)
    check(covered(c), "not one task each after the voters came back")
    check(started_in_all(c) == count, "tasks were started again")


CASES = {"cut": case_cut, "loss": case_loss, "stop-follower": case_stop_follower,
         "stop-leader": case_stop_leader, "kill-voters": case_kill_voters}


def test():
    with Net(HOSTS) as net, NetCluster(net, AGENTS, INSTANCES) as c:
        start = time.monotonic()
        c.start().wait_ready(60)
        print(f"{AGENTS} agents ready after {since(start)}")
        deploy(c, "daemon:1")
        for name in sys.argv[1:] or CASES:
            print(name)
            CASES[name](c)


netns.skip_unless_possible()
run(test)
