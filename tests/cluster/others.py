# SPDX-License-Identifier: Apache-2.0
"""bench_many (tests/bench/many.h): the members beside a few real agents in a large cluster, on
loopback. Each of the agents gets the id by which the others know it."""
import json
import os
import subprocess

from harness import BIN, free_port, wait_for


class Others:
    def __init__(self, cluster, agents, members):
        self.port = free_port()
        self.count = members - len(agents)
        argv = [os.path.join(BIN, "bench_many"), cluster.name, cluster.key_file, str(self.port),
                str(self.count)] + [f"127.0.0.1:{a.gossip}" for a in agents]
        self.p = subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        first = json.loads(self.p.stdout.readline())
        self.place = {i: self.count + n for n, i in enumerate(first["ids"])}
        for agent, i in zip(agents, first["ids"]):
            agent.settings.update({"agent.id": i, "gossip.join": first["join"]})
            agent.id = i

    def ask(self, *words):
        self.p.stdin.write(" ".join(map(str, words)) + "\n")
        self.p.stdin.flush()
        return json.loads(self.p.stdout.readline())

    def watch(self, node):
        """Once what happened before is told everywhere, and their process keeps up."""
        wait_for("the others to keep up", 60, lambda: self.ask("stats")["behind_ms"] < 5, 0.5)
        self.ask("watch", node)

    def end(self):
        self.p.stdin.close()
        self.p.wait()
        self.p.stdout.close()


def alive(agent):
    """How many it holds to be alive by its log, itself included: the API would make a page of all,
    whose memory an agent that nobody asks does not have."""
    states = {}
    for line in agent.log_lines():
        if line.get("event", "").startswith("member_"):
            states[line["member"]] = line["event"]
    states.pop(agent.id, None)
    return 1 + sum(e == "member_alive" for e in states.values())


def wakes(agent):
    """Of all its threads, so far."""
    task = f"/proc/{agent.process.p.pid}/task"
    total = 0
    for thread in os.listdir(task):
        with open(f"{task}/{thread}/status", encoding="ascii") as f:
            total += next(int(line.split()[1]) for line in f if line.startswith("voluntary_ctxt"))
    return total
