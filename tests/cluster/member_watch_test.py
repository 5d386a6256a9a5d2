#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""A watch of members and the leader: a snapshot, the leader's death and return as they happen, an
interrupted watch that goes on, and one that cannot."""
import json
import socket

from harness import Cluster, check, run, wait_for


class Watch:
    def __init__(self, agent, index=""):
        self.s = socket.create_connection(("127.0.0.1", agent.api))
        self.s.settimeout(40)
        self.s.sendall(f"GET /v2/watch?kinds=member,leader&index={index} HTTP/1.0\r\n"
                       "Host: localhost\r\n\r\n".encode())
        self.lines = self.s.makefile("r", encoding="utf-8")
        while self.lines.readline().strip():
            pass
        self.index = None

    def until(self, what, is_it):
        """All events up to the first that it is."""
        seen = []
        while not seen or not is_it(seen[-1]):
            line = self.lines.readline()
            check(line, f"the watch ended before {what}: {seen[-5:]}")
            e = json.loads(line)
            if e["event"] != "heartbeat":
                seen.append(e)
            self.index = e.get("index", self.index)
        return seen

    def close(self):
        self.lines.close()
        self.s.close()


def is_state(name, state):
    return lambda e: (e["event"], e.get("kind")) == ("put", "member") and \
        e["item"]["id"] == name and e["item"]["state"] == state


def is_led(e):
    return (e["event"], e.get("kind")) == ("put", "leader")


def snapshot(c):
    """Of a moment at which one leads; and who that is, and who was asked."""
    leader = c.wait_leader()
    a = next(x for x in c.agents if x is not leader)
    name = leader.get("/v2/agent")["id"]
    w = Watch(a)
    first = w.until("synced", lambda e: e["event"] == "synced")
    members = {e["item"]["id"]: e["item"] for e in first if e.get("kind") == "member"}
    check(members.keys() == {x.get("/v2/agent")["id"] for x in c.agents}, f"snapshot: {first}")
    check([m for m, item in members.items() if item["leader"]] == [name], f"{members}")
    check([e["item"]["leader"] for e in first if is_led(e)] == [name], f"snapshot: {first}")
    return leader, name, a, w, first


def test():
    with Cluster(agents=3, instances=3) as c:
        c.start().wait_ready(60)
        leader, name, a, w, first = wait_for("a snapshot with a leader", 30, lambda: snapshot(c))
        leader.kill()
        seen = w.until("another leader", lambda e: is_led(e) and e["item"]["leader"] != name)
        term = [e["item"]["term"] for e in first if is_led(e)][0]
        check(seen[-1]["item"]["term"] > term, f"{seen}")
        if not any(is_state(name, "failed")(e) for e in seen):
            w.until("its death", is_state(name, "failed"))
        w.close()
        leader.start()
        again = Watch(a, w.index)
        seen = again.until("its return", is_state(name, "alive"))
        check(not {"reset", "synced"} & {e["event"] for e in seen}, f"it did not go on: {seen}")
        again.close()

        a.kill()
        a.start()
        c.wait_ready(60)
        known = set()
        seen = Watch(a, again.index).until("all members", lambda e: len(
            known.add(e["item"]["id"]) or known if e.get("kind") == "member" else known) == 3)
        check(seen[0]["event"] == "reset", f"after a restart: {seen}")


if __name__ == "__main__":
    run(test)
