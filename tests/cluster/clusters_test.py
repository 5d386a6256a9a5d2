#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""intake.clusters = own | a list | all, with three clusters in one account: whose events and rows are
kept, what /v1 and /v2 tell of each, daemons in another cluster than the own, a cluster that is denied,
one that is deleted, and one that is not kept any more."""
import collections
import sys

from harness import Cluster, check, run, wait_for

try:
    import botocore.session
except ImportError:
    sys.exit(77)

SIZE = {"test": 3, "b": 2, "c": 2}


def ecs(cloud, operation, **params):
    client = botocore.session.get_session().create_client(
        "ecs", region_name=cloud.ready["region"], endpoint_url=cloud.endpoint,
        aws_access_key_id=cloud.ready["access_key_id"],
        aws_secret_access_key=cloud.ready["secret_access_key"])
    return getattr(client, operation)(**params)


def arn(c, name):
    return c.cloud.ready["cluster_arn"].rsplit("/", 1)[0] + "/" + name


def by_cluster(agent, kind="instances"):
    return dict(collections.Counter(i["clusterArn"].rsplit("/", 1)[1]
                                    for i in agent.items(kind)))


def see(c, what, kind="instances"):
    for a in c.agents:
        wait_for(f"{kind} {what} at agent {a.number}", 40,
                 lambda a=a: by_cluster(a, kind) == what)


def intake(c):
    return wait_for("a leader", 30, c.leader).get("/v2/agent")["intake"]


def environments(c):
    return {e["name"]: e for e in c.wait_leader().get("/v2/agent")["daemons"]["environments"]}


def restart_with(c, clusters):
    for a in c.agents:
        if a.alive():
            a.stop()
    for a in c.agents:
        a.settings["intake.clusters"] = clusters
    c.start()
    wait_for("all agents", 60, lambda: all(a.state() in ("ready", "degraded") for a in c.agents))


def own(c):
    restart_with(c, "own")
    see(c, {"test": 3})
    c.cloud.control("storm", count=6)
    foreign = intake(c)["queue"]["foreign"]
    c.cloud.control("disconnect", instance=c.others["b"][0])
    wait_for("the event of b to be counted", 30,
             lambda: intake(c)["queue"]["foreign"] > foreign)
    see(c, {"test": 3})
    c.cloud.control("connect", instance=c.others["b"][0])
    status, _, body = c.agents[0].ask("POST", "/v2/environments", {
        "name": "x", "cluster": "b", "taskDefinition": "daemon:1"})
    check(status == 400 and "intake.clusters" in body["detail"], f"{status} {body}")


def a_list(c):
    restart_with(c, f"own, {arn(c, 'b')}, nowhere")
    see(c, {"test": 3, "b": 2})
    degraded = wait_for("the cluster that is not there to be told", 30, lambda: [
        a.get("/v2/agent") for a in c.agents if "nowhere" in str(a.get("/v2/agent").get("why"))])
    check(degraded[0]["state"] == "degraded", degraded)


def all_of_them(c):
    restart_with(c, "all")
    see(c, SIZE)
    a = c.agents[1]
    for name, size in SIZE.items():
        for way in (name, arn(c, name)):
            got = a.items("instances", f"&cluster={way}")
            check(len(got) == size and {i["clusterArn"] for i in got} == {arn(c, name)},
                  f"/v2, cluster={way}: {got}")
            old = a.get(f"/v1/instances?cluster={way}")["items"]
            check(len(old) == size, f"/v1, cluster={way}: {len(old)}")
    check(len(a.get("/v1/instances")["items"]) == sum(SIZE.values()), "/v1 without a filter")
    c.cloud.control("disconnect", instance=c.others["c"][0])
    for agent in c.agents:
        wait_for("the event of c", 30, lambda agent=agent: [
            i for i in agent.items("instances", "&cluster=c") if i["agentConnected"] is False])
    c.cloud.control("connect", instance=c.others["c"][0])
    lags = wait_for("the lag of both", 30, lambda: (
        lambda seen: seen if arn(c, "c") in seen else None)(intake(c)["clusters"]))
    check(lags[arn(c, "c")]["events"] > 0, lags)


def daemons(c):
    """A leader schedules for every cluster whose rows are kept."""
    a = c.agents[0]
    for name in ("test", "b"):
        a.write("POST", "/v2/environments",
                {"name": f"logs-{name}", "cluster": name, "taskDefinition": "daemon:1"})
        a.write("POST", f"/v2/environments/logs-{name}/deployments", {})
    see(c, {"test": 3, "b": 2}, "tasks")
    for name in ("test", "b"):
        wait_for(f"the deployment in {name}", 40, lambda name=name: [
            d for d in a.items("deployments", f"&environment=logs-{name}")
            if d["status"] == "completed"])
    c.cloud.control("add-instances", cluster="b", count=1)
    see(c, {"test": 3, "b": 3}, "tasks")
    SIZE["b"] += 1


def own_first(c):
    """A new leader schedules in its own cluster although ECS throttles it in another one and is slow in a
    third; those follow by themselves."""
    for a in c.agents:
        a.stop()
    c.cloud.control("fault", mode="throttle", operation="ListTasks", cluster="b")
    c.cloud.control("fault", mode="delay-reply", ms=60000, operation="ListContainerInstances", cluster="c")
    for name in ("test", "b"):
        c.cloud.control("add-instances", cluster=name, count=1)
    c.start()
    wait_for("a daemon on the new instance", 40,
             lambda: len(c.cloud.running("daemon:logs-test")) == SIZE["test"] + 1)
    told = environments(c)
    check(told["logs-test"]["known"] and not told["logs-b"]["known"] and
          "compared" in told["logs-b"]["error"], told)
    check(len(c.cloud.running("daemon:logs-b")) == SIZE["b"], "scheduled in b before b is known")
    c.cloud.control("clear-faults")
    SIZE["test"] += 1
    SIZE["b"] += 1
    see(c, {k: SIZE[k] for k in ("test", "b")}, "tasks")
    check(all(sum(len(t) for t in c.cloud.running(f"daemon:logs-{k}").values()) == SIZE[k]
              for k in ("test", "b")), "daemons twice")


def denied(c):
    """One cluster may not be read: its rows stay, the daemons of the others go on."""
    c.cloud.control("fault", mode="error", status=400, code="AccessDeniedException", cluster="c")
    restart_with(c, "all")
    see(c, SIZE)
    c.cloud.control("add-instances", count=1)
    SIZE["test"] += 1
    see(c, {"test": SIZE["test"], "b": SIZE["b"]}, "tasks")
    check("c cannot be read" in str([x.get("/v2/agent").get("why") for x in c.agents]),
          [x.get("/v2/agent").get("why") for x in c.agents])
    c.cloud.control("clear-faults")


def deleted(c):
    for i in c.others["c"]:
        c.cloud.control("deregister", instance=i)
    ecs(c.cloud, "delete_cluster", cluster="c")
    del SIZE["c"]
    restart_with(c, "all")
    for a in c.agents:
        wait_for("nothing of c that is active", 40, lambda a=a: not [
            i for i in a.items("instances", "&cluster=c") if i["status"] != "INACTIVE"])


def not_kept(c):
    """What is not kept any more goes, instead of growing old; environments there wait."""
    restart_with(c, "own")
    see(c, {"test": SIZE["test"]})
    see(c, {"test": SIZE["test"]}, "tasks")
    check(len(c.cloud.running("daemon:logs-b")) == SIZE["b"], "tasks in b were stopped")
    told = wait_for("the own cluster to be known", 30, lambda: (
        lambda all_of: all_of if all_of["logs-test"]["known"] else None)(environments(c)))
    check("intake.clusters" in told["logs-b"]["error"] and told["logs-test"]["error"] == "", told)
    restart_with(c, "own,b")
    see(c, SIZE)
    see(c, {k: SIZE[k] for k in ("test", "b")}, "tasks")
    check(sum(len(t) for t in c.cloud.running("daemon:logs-b").values()) == SIZE["b"],
          "daemons in b twice")


def test():
    with Cluster(agents=3, instances=3) as c:
        c.others = {}
        for name in ("b", "c"):
            ecs(c.cloud, "create_cluster", clusterName=name)
            made = c.cloud.control("add-instances", cluster=name, count=SIZE[name])
            c.others[name] = [i["id"] for i in made["instances"]]
        for part in (own, a_list, all_of_them, daemons, own_first, denied, deleted, not_kept):
            part(c)


run(test)
