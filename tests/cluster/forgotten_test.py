#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""A firewall between the hosts forgets the leader's connections and drops what goes on them, while
datagrams and new connections pass. The kernel would go on for a quarter of an hour: the leader takes
new ones, and writes are acknowledged again, long before. In network namespaces. Needs root; else it
is skipped."""
import re

import netns
from harness import check, run, wait_for
from netns import Net, NetCluster


def forget(net, agent):
    """All connections that agent opened to the others' gossip ports."""
    lines = net.run(agent.host, "ss", "-tnH", "state", "established", "dport", "=",
                    ":7381").stdout.splitlines()
    ports = sorted({m.group(1) for line in lines if (m := re.search(r":(\d+)\s+\S+:7381", line))})
    check(len(ports) >= 2, f"the leader holds no connections: {lines}")
    for port in ports:
        net.run(agent.host, "iptables", "-A", "OUTPUT", "-p", "tcp", "--sport", port, "-j", "DROP")


def test():
    netns.skip_unless_possible()
    with Net(["cloud", "a1", "a2", "a3"]) as net, NetCluster(net, 3, 3) as c:
        c.start().wait_ready()
        leader = c.wait_leader()
        forget(net, leader)
        leader.write("POST", "/v2/environments",
                     {"name": "after", "cluster": c.name, "taskDefinition": "daemon:1"})
        wait_for("all to have it", 20, lambda: all(
            [e["name"] for e in a.items("environments")] == ["after"] for a in c.agents))


run(test)
