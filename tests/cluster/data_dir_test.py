#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Data directories that are not what they should be: lost, of an earlier time, copied from another
agent (as an image of an instance does), of an agent whose id was another. All join, nobody suffers."""
import os
import shutil

from harness import Cluster, check, run, wait_for

VOTERS = 3


def data(agent):
    return os.path.join(agent.dir, "data")


def one_cluster(c, count):
    """All alive in the eyes of all, with one leader and one cluster."""
    running = [a for a in c.agents if a.alive()]
    docs = [a.get("/v2/leader") for a in running]
    alive = [sum(m["state"] == "alive" for m in a.items("members")) for a in running]
    return len(running) == count and alive == [count] * count and docs[0]["leader"] \
        and len({(d["leader"], d["cluster_id"]) for d in docs}) == 1 \
        and not any(d["trouble"] for d in docs) and len(docs[0]["voters"]) == VOTERS


def spread(agent):
    def all_have_it():
        return agent.write("POST", "/v2/agent/propagate", {"timeout_ms": 20000})["all"]
    wait_for("a record everywhere", 60, all_have_it)


def events(agent):
    return [line.get("event") for line in agent.log_lines()]


def test():
    with Cluster(agents=VOTERS + 1, cloud=False) as c:
        voter, other, _, last = c.agents
        for a in c.agents:
            a.settings["raft.expect"] = str(VOTERS)
        for a in c.agents[:VOTERS]:
            a.start()
        wait_for("a cluster", 60, lambda: one_cluster(c, VOTERS))

        voter.stop()
        shutil.copytree(data(voter), data(last))
        shutil.copytree(data(voter), data(voter) + ".old")
        voter.start()
        last.start()  # with the key, the log and the rows of a voter that is there, too
        wait_for("the copy to join", 60, lambda: one_cluster(c, VOTERS + 1))
        check({"own_key_replaced", "raft_foreign"} <= set(events(last)), f"{events(last)}")
        check("raft_foreign" not in events(voter), "a voter's own log was given up")
        spread(last)
        last.stop()
        last.start()
        wait_for("it to come back", 60, lambda: one_cluster(c, VOTERS + 1))
        check(events(last).count("raft_foreign") == 1, "the log is its own now")

        last.stop()
        last.settings["agent.id"] = "renamed"
        last.start()
        wait_for("it under another id", 60, lambda: one_cluster(c, VOTERS + 1))
        spread(last)

        voter.kill()
        shutil.rmtree(data(voter))
        os.rename(data(voter) + ".old", data(voter))
        voter.start()
        wait_for("one with an old directory", 60, lambda: one_cluster(c, VOTERS + 1))
        other.kill()
        shutil.rmtree(data(other))
        other.start()
        wait_for("one whose directory is lost", 60, lambda: one_cluster(c, VOTERS + 1))
        for a in c.agents:
            spread(a)


if __name__ == "__main__":
    run(test)
