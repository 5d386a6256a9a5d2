#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Hosts without instance metadata, whose agents are bound to all addresses and told none: each finds its own
out and publishes it in ECS, by which alone they find each other. One that is given another address,
be it the leader, publishes that; what is written reaches all; and a newcomer comes in. In network namespaces. Needs root; else it is skipped."""
import netns
from harness import run, wait_for
from netns import Net, NetCluster

UNTOLD = ("agent.zone", "gossip.join", "gossip.advertise", "gossip.join_ecs", "raft.expect")


def tell_nothing(c):
    for a in c.agents:
        a.config = lambda a=a, own=a.config: {k: v for k, v in own().items() if k not in UNTOLD} | {
            "agent.id": f"host-{a.number}", "gossip.bind": "0.0.0.0:7381", "aws.imds_endpoint": "", "intake.reconcile_interval": "2s"}
        a.env.update({"AWS_EC2_METADATA_DISABLED": "true",
                      "AWS_ACCESS_KEY_ID": c.cloud.ready["access_key_id"],
                      "AWS_SECRET_ACCESS_KEY": c.cloud.ready["secret_access_key"]})


def published(agent):
    """As an agent has it of ECS."""
    return sorted(v["value"] for i in agent.items("instances") for v in i["attributes"]
                  if v["name"] == "blox.addr")


def all_published(agents):
    return published(agents[0]) == sorted(f"{a.address}:7381" for a in agents)


def all_know(agents):
    return all(len([m for m in a.items("members") if m["state"] == "alive"]) == len(agents)
               for a in agents)


def moves(net, agent, address):
    net.run(agent.host, "ip", "addr", "add", f"{address}/24", "dev", "eth0")
    net.run(agent.host, "ip", "addr", "del", f"{agent.address}/24", "dev", "eth0")
    agent.address = address


def test():
    netns.skip_unless_possible()
    with Net(["cloud", "a1", "a2", "a3", "a4"]) as net, NetCluster(net, 4, 4) as c:
        tell_nothing(c)
        first, late = c.agents[:3], c.agents[3]
        for a in first:
            net.run(a.host, "sysctl", "-qw", "net.ipv4.conf.eth0.promote_secondaries=1")
            a.start()
        wait_for("all to know all", 60, lambda: all_know(first))
        wait_for("all addresses", 60, lambda: all_published(first))
        leader = wait_for("a leader", 60, c.leader)
        follower = next(a for a in first if a is not leader)
        for i, moving in enumerate((follower, leader)):
            moves(net, moving, f"{netns.SUBNET}.{77 + i}")
            wait_for("the new address", 60, lambda: all_published(first))
            first[0].write("POST", "/v2/environments", {
                "name": f"after-{i}", "cluster": c.name, "taskDefinition": "daemon:1"})
            wait_for("all to have what was written", 20, lambda: all(
                len(a.items("environments")) == i + 1 for a in first))
        late.start()
        wait_for("all to know all", 60, lambda: all_know(c.agents))


run(test)
