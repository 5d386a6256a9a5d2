#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""--log-format json: one line on stdout for each change of a member and for each test record, as
tools outside read them."""
import json
import os
import subprocess

from harness import BIN, Cluster, check, run, wait_for

COUNT = 5
RECORDS = 30


class Watched:
    """An agent whose stdout is read apart from its stderr."""

    def __init__(self, agent):
        self.out = open(os.path.join(agent.dir, "out"), "w+b")
        self.err = open(os.path.join(agent.dir, "err"), "w+b")
        agent.settings["agent.log_format"] = "text"  # what the command line says counts
        self.p = subprocess.Popen(
            [os.path.join(BIN, "bloxd"), "--config", agent.write_config(), "--log-format", "json"],
            stdin=subprocess.DEVNULL, stdout=self.out, stderr=self.err, env=agent.environment())

    def lines(self):
        with open(self.out.name, encoding="utf-8") as f:
            return [json.loads(line) for line in f if line.endswith("\n")]

    def stop(self):
        self.p.terminate()
        code = self.p.wait(20)
        self.out.close()
        self.err.close()
        return code


def states_of(watched, member):
    return [line["event"] for line in watched.lines()
            if line["event"].startswith("member_") and line["member"] == member]


def await_event(watched, event, member):
    wait_for(f"{event} {member}", 20, lambda: event in states_of(watched, member))


def told(watched, member):
    """Without doubts that came to nothing, as a busy machine has them."""
    out = []
    for event in states_of(watched, member):
        if event == "member_degraded":
            continue
        if out[-1:] == ["member_suspect"] and event != "member_failed":
            out.pop()
        if out[-1:] != [event]:
            out.append(event)
    return out


def test():
    with Cluster(agents=COUNT, cloud=False) as c:
        watched = Watched(c.agents[0])
        try:
            for a in c.agents[1:]:
                a.start()
            names = {a.number: f"test-agent-{a.number}" for a in c.agents}
            for name in names.values():
                await_event(watched, "member_alive", name)
            out = c.agents[1].write("POST", "/v2/agent/propagate", {"count": RECORDS})
            check(out["all"], f"records: {out}")
            keys = [line["key"] for line in watched.lines() if line["event"] == "record_applied"]
            check(len(keys) == RECORDS == len(set(keys)), f"{len(keys)} lines of records")
            c.agents[2].kill()
            await_event(watched, "member_failed", names[3])
            check(told(watched, names[3]) == ["member_alive", "member_suspect", "member_failed"],
                  f"a killed one: {states_of(watched, names[3])}")
            c.agents[3].stop()
            await_event(watched, "member_left", names[4])
            check(told(watched, names[4]) == ["member_alive", "member_left"],
                  f"one that left: {states_of(watched, names[4])}")
            c.agents[4].pause()
            await_event(watched, "member_degraded", names[5])
            c.agents[4].resume()
            wait_for("it to be back", 20, lambda: states_of(watched, names[5])[-1]
                     == "member_alive")
            check(told(watched, names[5]) == ["member_alive"],
                  f"a stopped one: {states_of(watched, names[5])}")
        finally:
            code = watched.stop()
        check(code == 0, f"the watched agent ended with {code}")
        check(os.path.getsize(watched.err.name) == 0, "it wrote to stderr as well")


run(test)
