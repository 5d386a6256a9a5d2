#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""--log-format json: one line on stdout for each change of a member and for each test record, as
tools outside read them."""
import json
import os
import subprocess
import time

from harness import BIN, Cluster, check, run, wait_for

COUNT = 5
RECORDS = 30
SHORT_S = 20.0  # nobody is given up so soon whose host answers


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


def applied(watched):
    return [line["key"] for line in watched.lines() if line["event"] == "record_applied"]


def await_event(watched, event, member):
    wait_for(f"{event} {member}", 20, lambda: event in states_of(watched, member))


def await_end(watched, member, story):
    """The story is what there is to tell of it since it was last held to be alive."""
    await_event(watched, story[-1], member)
    wait_for(f"{story} of {member}", 20, lambda: told(watched, member)[-len(story):] == story)


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
            check(out["count"] == RECORDS, f"records: {out}")
            wait_for("a line for each record", 60, lambda: len(applied(watched)) >= RECORDS)
            check(len(set(applied(watched))) == len(applied(watched)) == RECORDS,
                  f"{len(applied(watched))} lines of records")
            c.agents[2].kill()
            await_end(watched, names[3], ["member_alive", "member_suspect", "member_failed"])
            c.agents[3].stop()
            await_end(watched, names[4], ["member_alive", "member_left"])
            before = len(states_of(watched, names[5]))
            paused = time.monotonic()
            c.agents[4].pause()
            wait_for("the doubt", 20, lambda: {"member_degraded", "member_suspect"} & set(
                states_of(watched, names[5])[before:]))
            c.agents[4].resume()
            paused = time.monotonic() - paused
            wait_for("it to be back", 20, lambda: states_of(watched, names[5])[before:][-1]
                     == "member_alive")
            if paused < SHORT_S:  # else it was taken for dead with good reason
                check(told(watched, names[5])[-1:] == ["member_alive"] and "member_failed" not in
                      states_of(watched, names[5])[before:],
                      f"a stopped one: {states_of(watched, names[5])}")
        finally:
            code = watched.stop()
        check(code == 0, f"the watched agent ended with {code}")
        check(os.path.getsize(watched.err.name) == 0, "it wrote to stderr as well")


run(test)
