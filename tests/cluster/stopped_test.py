#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""A process that is stopped for good on a host that answers: the others call it degraded within
seconds, and failed when half a minute brought no word of it, so that it holds up no change of keys.
When it goes on it is a member again."""
import os
import time

from harness import Cluster, blox, check, run, wait_for


def states(c, of, name):
    return {m["state"] for a in c.agents if a is not of for m in a.items("members")
            if m["id"] == name}


def test():
    with Cluster(agents=5, instances=5) as c:
        c.start().wait_ready()
        leader = c.wait_leader()
        victim = next(a for a in reversed(c.agents) if a is not leader)
        name = victim.get("/v2/agent")["id"]
        path = os.path.join(c.dir, "another.key")
        with open(path, "w", encoding="utf-8") as f:
            f.write(os.urandom(32).hex())
        began = time.monotonic()
        victim.pause()
        wait_for("all to call it degraded", 15, lambda: states(c, victim, name) == {"degraded"})
        wait_for("all to call it failed", 90, lambda: states(c, victim, name) == {"failed"})
        print(f"failed after {time.monotonic() - began:.1f} s")
        check(time.monotonic() - began > 28, "its host answered, and did not excuse it")
        told = [line for a in c.agents for line in a.log_lines()
                if line.get("event") == "member_suspect" and line.get("member") == name]
        for line in told:
            print(line["message"])
        check(told and not any("to 0 probes" in line["message"] for line in told), "probes of nobody")
        code, out, err = blox(leader, "keys", "install", path)
        check(code == 0 and "4 of 4 members" in out, f"keys wait for it: {code} {out} {err}")
        victim.resume()
        wait_for("all to call it alive", 15, lambda: states(c, victim, name) == {"alive"})


run(test)
