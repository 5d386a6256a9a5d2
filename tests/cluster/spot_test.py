#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The leader's instance gets a spot notice, then another voter's a scale-in: 2 s after
metadata shows it leadership is elsewhere, a spare votes in its place, and the leaving agent does not; a write goes
through in the meantime. A notice that is taken back makes the agent a candidate for votes again."""
import calendar
import time

from harness import Cluster, Lateness, check, run, wait_for


def names(leader, kind):
    return {s["id"] for s in leader.get("/v2/leader")[kind]}


def servers(c):
    leader = c.leader()
    return names(leader, "voters") | names(leader, "learners") if leader else set()


def settled(c, voters, learners):
    leader = c.leader()
    if not leader:
        return None
    return leader if len(names(leader, "voters")) == voters and \
        len(names(leader, "learners")) == learners else None


def logged_at(line):
    """Seconds since the epoch."""
    text = line["time"] if "time" in line else line["ts"]
    whole, _, rest = text.rstrip("Z").partition(".")
    return calendar.timegm(time.strptime(whole, "%Y-%m-%dT%H:%M:%S")) + float("0." + (rest or "0"))


def noticed_at(agent):
    """When the agent said so in its log, or None."""
    times = [logged_at(line) for line in agent.log_lines()
             if line.get("event") == "notice" and line.get("notice")]
    return times[-1] if times else None


def last_change(c):
    """When any leader last led or changed who votes."""
    return max(logged_at(line) for a in c.agents for line in a.log_lines()
               if line.get("event") in ("raft_voters", "leader_changed"))


def away(c, gone):
    """A leader other than gone, under which gone has no vote and three others have."""
    leader = c.leader()
    if not leader or leader is gone:
        return None
    voters = names(leader, "voters")
    return leader if gone.name not in voters and len(voters) == 3 else None


def hand_over(c, agent, verb, what, **args):
    instance = c.instance_of(agent.number)
    shown = time.time()
    c.cloud.control(verb, instance=instance["arn"], **args)
    wait_for("the notice in the log", 15, lambda: noticed_at(agent), 0.02)
    leader = wait_for("the vote handed on", 30, lambda: away(c, agent), 0.02)
    took = last_change(c) - shown
    print(f"{what}: noticed after {noticed_at(agent) - shown:.2f} s, handed on after {took:.2f} s")
    notice = wait_for("notice in /v2/agent", 5, lambda: agent.get("/v2/agent").get("notice"))
    check(what in notice, f"notice is {notice!r}")
    leader.write("POST", "/v2/environments",
                 {"name": verb, "cluster": c.name, "taskDefinition": "daemon:1"})
    return took


def test():
    with Cluster(agents=5, instances=5) as c:
        c.start().wait_ready(60)
        leader = wait_for("3 voters and 2 spares", 60, lambda: settled(c, 3, 2), 0.2)
        for a in c.agents:
            a.name = a.get("/v2/agent")["id"]
        late = Lateness()
        took = [hand_over(c, leader, "spot-notice", "spot interruption")]

        def another_voter():
            second = c.leader()
            return next(a for a in c.agents if a is not second and a is not leader
                        and a.name in names(second, "voters"))
        voter = wait_for("a voter that does not lead", 30, another_voter)
        took.append(hand_over(c, voter, "lifecycle-state", "scale-in", state="Terminated"))
        check(max(took) <= late.allow(2.0), f"handing on took {took} s")
        c.cloud.control("lifecycle-state", instance=c.instance_of(voter.number)["arn"],
                        state="InService")
        wait_for("the notice taken back", 15,
                 lambda: "notice" not in voter.get("/v2/agent"), 0.2)
        wait_for("it is a server again", 30,
                 lambda: voter.name in servers(c), 0.2)


run(test)
