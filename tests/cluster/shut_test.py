#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""A firewall drops all that the leader sends over TCP to the others, new connections too, while its
datagrams pass: it would go on to lead and replicate nothing. Another one leads, writes are
acknowledged, and `blox status` on that host says what is wrong. Once TCP passes again it has what was
written. In network namespaces. Needs root; else it is skipped."""
import netns
from harness import check, run, wait_for
from netns import Net, NetCluster


def trouble(agent):
    return agent.get("/v2/leader").get("trouble") or ""


def test():
    netns.skip_unless_possible()
    with Net(["cloud", "a1", "a2", "a3"]) as net, NetCluster(net, 3, 3) as c:
        c.start().wait_ready()
        shut = c.wait_leader()
        others = [a for a in c.agents if a is not shut]
        net.run(shut.host, "iptables", "-A", "OUTPUT", "-p", "tcp", "--dport", "7381", "-j", "DROP")
        # Asks again, with the same key, while no answer comes.
        others[0].write("POST", "/v2/environments",
                        {"name": "after", "cluster": c.name, "taskDefinition": "daemon:1"})
        check(wait_for("another leader", 20, c.leader) is not shut, "it leads on")
        wait_for("what is wrong", 20, lambda: "TCP" in trouble(shut))
        net.run(shut.host, "iptables", "-F", "OUTPUT")
        wait_for("nothing to be wrong", 20, lambda: not any(trouble(a) for a in c.agents))
        shut.write("POST", "/v2/environments",
                   {"name": "healed", "cluster": c.name, "taskDefinition": "daemon:1"})
        wait_for("all to have it", 20, lambda: all(
            len(a.items("environments")) == 2 for a in c.agents))
        check(len([m for m in others[0].items("members") if m["state"] == "alive"]) == 3, "lost one")


run(test)
