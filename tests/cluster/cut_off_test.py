#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The key is changed while an agent is cut off: once it could be reached again it says what is wrong, and
with the others' key file and a restart it is back. In network namespaces. Needs root; else it is
skipped."""
import os
import shutil

import netns
from harness import run, wait_for
from netns import Net, NetCluster


def states(agent):
    return {m["id"]: m["state"] for m in agent.items("members")}


def own_key_files(c):
    for a in c.agents:
        path = os.path.join(c.dir, f"key-{a.number}")
        shutil.copy(c.key_file, path)
        a.settings["gossip.key_file"] = path


def change_key(agent):
    old = agent.get("/v2/keys")["keys"][0]["id"]
    new = agent.write("POST", "/v2/keys", {"key": os.urandom(32).hex()})["id"]
    agent.write("POST", f"/v2/keys/{new}/use", {})
    agent.write("DELETE", f"/v2/keys/{old}")


def test():
    netns.skip_unless_possible()
    with Net(["cloud", "a1", "a2", "a3"]) as net, NetCluster(net, 3, 3) as c:
        own_key_files(c)
        c.start().wait_ready()
        first, away = c.agents[0], c.agents[2]
        own = away.get("/v2/agent")["id"]
        net.part({"a3"}, {"a1", "a2"})
        wait_for("all to have given each other up", 60, lambda: states(first)[own] == "failed"
                 and list(states(away).values()).count("alive") == 1)
        change_key(first)
        net.heal()
        wait_for("it to say what is wrong", 60,
                 lambda: "restart this" in (away.get("/v2/agent").get("why") or ""))
        away.stop()
        shutil.copy(first.settings["gossip.key_file"], away.settings["gossip.key_file"])
        away.start()
        wait_for("it to be back", 60, lambda: all(
            list(states(a).values()) == ["alive"] * 3 for a in c.agents))


run(test)
