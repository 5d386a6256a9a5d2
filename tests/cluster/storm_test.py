#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Stops at any moment, also twice, and starts that cannot succeed: each ends by itself, in time,
without a sanitizer report, with a sentence that says what is wrong."""
import os
import random
import signal
import time

from harness import Cluster, check, run, wait_for

STOPS = int(os.environ.get("BLOX_STORM_STOPS", "20"))


def stop_at_any_moment(c):
    agent = c.agents[1]
    rng = random.Random(os.environ.get("BLOX_SEED", "1"))
    longest = 0.0
    for i in range(STOPS):
        agent.start()
        time.sleep(rng.uniform(0.0, 2.0) if i % 4 else rng.uniform(0.0, 0.2))
        if i % 3 == 0:
            agent.process.send(signal.SIGTERM)
            time.sleep(rng.uniform(0.0, 0.05))
            agent.process.send(signal.SIGINT)
        begun = time.monotonic()
        code = agent.process.stop()
        longest = max(longest, time.monotonic() - begun)
        # Negative: before the handlers were there.
        check(code in (0, -signal.SIGTERM, -signal.SIGINT),
              f"stop {i}: ended with {code}; see {agent.log}")
        agent.process = None
    print(f"{STOPS} stops, the longest took {longest:.2f} s")


def refused(c, settings, sentence, codes=(1, 78)):
    """The second agent with these settings ends by itself and says why."""
    agent = c.agents[1]
    agent.settings = settings
    before = os.path.getsize(agent.log) if os.path.exists(agent.log) else 0
    agent.start()
    wait_for(f"the end of an agent with {settings}", 15, lambda: not agent.alive())
    code = agent.process.p.returncode
    agent.process.out.close()
    agent.process = None
    with open(agent.log, encoding="utf-8", errors="replace") as f:
        f.seek(before)
        text = f.read()
    check(code in codes, f"{settings}: ended with {code}, not {codes}:\n{text}")
    said = [line for line in text.splitlines() if line.startswith("bloxd: ")]
    check(said and sentence in said[-1], f"{settings}: said {said}, nothing of '{sentence}'")
    print(f"  {said[-1]}")
    agent.settings = {}


def impossible_starts(c):
    first = c.agents[0]
    plain = os.path.join(c.dir, "a-file")
    with open(plain, "w", encoding="utf-8"):
        pass
    refused(c, {"api.bind": f"127.0.0.1:{first.api}"}, str(first.api))
    refused(c, {"agent.data_dir": os.path.join(first.dir, "data")}, "in use by another process")
    refused(c, {"agent.data_dir": os.path.join(plain, "data")}, "Not a directory")
    refused(c, {"agent.data_dir": "/proc/blox"}, "/proc/blox")
    refused(c, {"gossip.key_file": os.path.join(c.dir, "none")}, "none")
    refused(c, {"gossip.key_file": plain}, "a-file")


def taken_port(c):
    """The second agent has the first one's port: it serves, says so and is not ready; it takes the
    port as soon as that is free."""
    first, agent = c.agents
    agent.settings = {"gossip.bind": f"127.0.0.1:{first.gossip}", "raft.expect": "1"}
    agent.start()
    body = wait_for("an agent degraded by a port that is taken", 20, lambda: (
        lambda b: b if b.get("state") == "degraded" and "in use" in (b.get("why") or "") else None)(
            agent.request("GET", "/v2/agent")[2]))
    print(f"  {body['why']}")
    status, _, ready = agent.request("GET", "/health/ready")
    check(status == 503 and "in use" in str(ready), f"ready says {status} {ready}")
    time.sleep(6)  # tried once more meanwhile
    check(first.state() == "ready", "the other agent is disturbed")
    first.stop()
    wait_for("the port to be taken", 30, lambda: len(agent.items("members")) == 1)
    wait_for("it ready", 30, lambda: agent.request("GET", "/health/ready")[0] == 200)
    told = [line for line in agent.log_lines() if line.get("event") == "cluster_not_started"]
    check(len(told) == 1, f"told {len(told)} times")
    agent.stop()
    agent.settings = {}
    first.start()


def test():
    with Cluster(agents=2, instances=5) as c:
        c.agents[0].settings.update({"raft.expect": "1", "gossip.join": ""})
        c.agents[0].start()
        wait_for("a leader", 20, c.leader)
        wait_for("it ready", 20, lambda: c.agents[0].state() == "ready")
        stop_at_any_moment(c)
        impossible_starts(c)
        taken_port(c)
        wait_for("the other agent well again", 20, lambda: c.agents[0].state() == "ready")


run(test)
