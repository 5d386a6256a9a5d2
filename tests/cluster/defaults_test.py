#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""An installation as the README has it: on each host a key and the name of a queue, all else as it is when nobody sets it.
Region, zone, id and address come from instance metadata, the cluster from the ECS agent, the peers from ECS. Hosts in
namespaces, each with the address that its metadata tells; started in one moment. They form one cluster, a daemon reaches
all of them and a host that comes later, and the leader's death does not stop that. Needs root; else it is skipped."""
import os
import urllib.request

import netns
from harness import check, run, wait_for
from netns import Net, NetCluster

HOSTS = ["cloud", "a1", "a2", "a3", "a4", "a5"]


def only_defaults(c):
    """What is set beside a queue: where the test keeps its files, and where its AWS is."""
    for a in c.agents:
        instance = c.instance_of(a.number)
        a.config = lambda a=a, instance=instance: {
            "agent.data_dir": os.path.join(a.dir, "data"), "agent.log_format": "json",
            "api.socket": os.path.join(a.dir, "sock"), "api.anonymous": "write",
            "gossip.key_file": c.key_file, "intake.queue": "blox-events",
            "aws.imds_endpoint": instance["imds"], "aws.ecs_agent_endpoint": instance["ecs_agent"]}
        a.env["AWS_ENDPOINT_URL"] = c.cloud.endpoint


def metadata(net, host, instance, path):
    def ask(method, what, **headers):
        request = urllib.request.Request(f"{instance['imds']}/latest/{what}", method=method, headers=headers)
        with urllib.request.urlopen(request, timeout=10) as answer:
            return answer.read().decode()
    with net.inside(host):
        token = ask("PUT", "api/token", **{"X-aws-ec2-metadata-token-ttl-seconds": "60"})
        return ask("GET", f"meta-data/{path}", **{"X-aws-ec2-metadata-token": token})


def move_in(net, c):
    """Each host gets the address that the metadata of its instance tells."""
    address = {a.host: metadata(net, a.host, c.instance_of(a.number), "local-ipv4") for a in c.agents}
    for host, own in address.items():
        net.run(host, "ip", "addr", "add", f"{own}/32", "dev", "eth0")
        for other in address.values():
            if other != own:
                net.run(host, "ip", "route", "add", f"{other}/32", "dev", "eth0", "src", own)


def leader_known(agents):
    leaders = {a.get("/v2/leader").get("leader") for a in agents}
    return len(leaders) == 1 and leaders.pop()


def covered(c, instances):
    running = c.cloud.running("daemon:logs")
    return len(running) == instances and all(len(tasks) == 1 for tasks in running.values())


def test():
    netns.skip_unless_possible()
    with Net(HOSTS) as net, NetCluster(net, 5, 5) as c:
        move_in(net, c)
        only_defaults(c)
        first, late = c.agents[:4], c.agents[4]
        for a in first:
            a.start()
        wait_for("a leader that all know", 60, lambda: leader_known(first))
        check(len({a.get("/v2/leader")["cluster_id"] for a in first}) == 1, "several clusters")
        check(all(len(a.items("members")) == 4 for a in first), "not all see all")
        a = first[0]
        a.write("POST", "/v2/environments",
                {"name": "logs", "cluster": c.name, "taskDefinition": "daemon:1"})
        a.write("POST", "/v2/environments/logs/deployments", {})
        wait_for("one task on each instance", 60, lambda: covered(c, 5))
        late.start()
        wait_for("the last one to know the leader", 40, lambda: leader_known(c.agents))
        leader = c.leader()
        leader.kill()
        rest = [a for a in c.agents if a is not leader]
        wait_for("another leader", 20, lambda: leader_known(rest) and c.leader())
        victim = next(iter(c.cloud.running("daemon:logs").values()))[0]
        c.cloud.control("kill-task", task=victim["taskArn"])
        wait_for("a killed task to be replaced", 40, lambda: covered(c, 5) and victim["taskArn"]
                 not in {t["taskArn"] for ts in c.cloud.running("daemon:logs").values() for t in ts})
        for a in rest:
            wait_for(f"agent {a.number} to be content", 30, lambda a=a: a.state() == "ready")


run(test)
