# SPDX-License-Identifier: Apache-2.0
"""bloxd on hosts of their own, and what the gossip bench does to them. Times are of the agents' own
log lines (one machine, one clock)."""
import concurrent.futures
import datetime
import json
import os
import signal
import time

from harness import Cluster, wait_for
from netns import NetAgent


def name_of(agent):
    return f"test-agent-{agent.number}"


def when(line):
    return datetime.datetime.fromisoformat(line["time"].replace("Z", "+00:00")).timestamp()


def events(agent, names, since=0.0):
    """(time, event, member) of an agent's log."""
    for line in agent.log_lines():
        if line.get("event") in names and when(line) >= since:
            yield when(line), line["event"], line["member"]


def members_failed(agents, since):
    return [m for a in agents for _, _, m in events(a, {"member_failed"}, since)]


def ip_sent(net, hosts):
    """IP bytes that each host has sent, as its port of the bridge counted them."""
    out = net.run("switch", "ip", "-s", "-j", "link").stdout
    ports = {p["ifname"]: p["stats64"]["rx"] for p in json.loads(out)}
    return [ports[net.port(h)]["bytes"] - 14 * ports[net.port(h)]["packets"] for h in hosts]


class Hosts(Cluster):
    who = "bloxd"

    def __init__(self, net, count):
        super().__init__(agents=0, cloud=False, name="bench")
        self.net = net
        self.agents = [NetAgent(self, i + 1) for i in range(count)]

    def hosts(self):
        return [a.host for a in self.agents]

    def pids(self):
        return [a.process.p.pid for a in self.agents]

    def sent(self):
        return ip_sent(self.net, self.hosts())

    def refused(self):
        return sum(a.get("/v2/agent")["gossip"]["rejected"] for a in self.agents)

    def count_events(self, names, since):
        return sum(1 for a in self.agents for _ in events(a, names, since))

    def wait_whole(self, seconds=90):
        count = len(self.agents)
        wait_for("all to see all", seconds, lambda: all(
            sum(m["state"] == "alive" for m in a.items("members")) == count
            for a in self.agents), 0.3)

    def last_alive(self, agent, names, since):
        """When the agent held the last of these to be alive (the first time); it logs itself, too."""
        first = {}
        for t, _, member in events(agent, {"member_alive"}, since):
            first.setdefault(member, t)
        return max((first[n] for n in names if n in first), default=since)

    def whole_since(self, since):
        names = [name_of(a) for a in self.agents]
        return max(self.last_alive(a, names, since) for a in self.agents)

    def mass_start(self):
        at = time.time()
        for a in self.agents:
            a.start()
        last = time.time()
        self.wait_whole()
        return max(0.0, (self.whole_since(at) - last) * 1000)

    def spread(self, times):
        took = []
        for i in range(times):
            out = self.agents[i].write("POST", "/v2/agent/propagate", {"bytes": 200})
            took += [m["ms"] if m["ms"] is not None else 1e5 for m in out["members"]]
            time.sleep(0.3)
        return took

    def burst(self, count, size):
        before = self.sent()
        out = self.agents[1].write("POST", "/v2/agent/propagate", {
            "count": count, "bytes": size, "timeout_ms": 20000})
        time.sleep(0.5)
        sent = [(b - a) / (count * size) for a, b in zip(before, self.sent())]
        time.sleep(2)
        return out["last_ms"] if out["all"] else 1e5, sent

    def sustained(self, rate, size, seconds):
        """So many test records a second, a tenth of a second's at a time, from one agent after the
        other: when each member had each of those, bytes sent per host and second, and the most
        records that waited at any host meanwhile."""
        def tenth(i):
            return self.agents[i % len(self.agents)].write("POST", "/v2/agent/propagate", {
                "count": rate // 10, "bytes": size, "timeout_ms": 30000})

        before, start, waiting = self.sent(), time.monotonic(), 0
        with concurrent.futures.ThreadPoolExecutor(32) as pool:
            runs = []
            for i in range(seconds * 10):
                time.sleep(max(0.0, start + i / 10 - time.monotonic()))
                runs.append(pool.submit(tenth, i))
                if i % 10 == 5:
                    agent = self.agents[i // 10 % len(self.agents)]
                    waiting = max(waiting, agent.get("/v2/agent")["gossip"]["records_queued"])
            took = [m["ms"] if m["ms"] is not None else 1e5
                    for r in runs for m in r.result()["members"]]
        over = time.monotonic() - start
        return took, [(b - a) / over for a, b in zip(before, self.sent())], waiting

    def starve(self, agents, seconds):
        """Each of them runs for 5 ms of every second."""
        for a in agents:
            a.process.send(signal.SIGSTOP)
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            turn = time.monotonic()
            for a in agents:
                a.process.send(signal.SIGCONT)
                time.sleep(0.005)
                a.process.send(signal.SIGSTOP)
            time.sleep(max(0.0, turn + 1 - time.monotonic()))
        for a in agents:
            a.process.send(signal.SIGCONT)

    def known(self, victim, at, others):
        name = name_of(victim)

        def times():
            found = [min((t for t, _, m in events(a, {"member_failed"}, at) if m == name),
                         default=None) for a in others]
            return None if None in found else found

        return [(t - at) * 1000 for t in wait_for("all to know", 60, times, 0.5)]

    def vanish(self, index):
        victim = self.agents[index]
        at = time.time()
        self.net.unplug(victim.host)
        took = self.known(victim, at, [a for a in self.agents if a is not victim])
        self.net.plug(victim.host)
        self.wait_whole()
        return took

    def kill(self, index):
        victim = self.agents[index]
        at = time.time()
        victim.kill()
        took = self.known(victim, at, [a for a in self.agents if a is not victim])
        victim.start()
        self.wait_whole()
        return took

    def newcomer(self):
        a = NetAgent(self, len(self.agents) + 1)
        old, at = list(self.agents), time.time()
        self.agents.append(a)
        a.start()
        self.wait_whole()
        begin = min(t for t, _, _ in events(a, {"member_alive"}, at))  # its gossip, not its process
        seen = max(min(t for t, _, m in events(b, {"member_alive"}, at) if m == name_of(a))
                   for b in old)
        return (seen - begin) * 1000, \
            (self.last_alive(a, [name_of(b) for b in old], at) - begin) * 1000

    def partition(self, seconds):
        half = len(self.agents) // 2
        one, other = self.agents[:half], self.agents[half:]
        self.net.part({a.host for a in one}, {a.host for a in other})
        time.sleep(seconds)
        at = time.time()
        self.net.heal()
        end = time.time()
        self.wait_whole()
        first = min((t for a in self.agents for t, _, _ in events(a, {"member_alive"}, at)),
                    default=end)
        last = max((t for a in self.agents for t, _, _ in events(a, {"member_alive"}, at)),
                   default=end)
        return max(0.0, (first - end) * 1000), max(0.0, (last - end) * 1000)

    def rotate_key(self):
        a = self.agents[0]
        old = a.get("/v2/keys")["keys"][0]["id"]
        body = a.write("POST", "/v2/keys", {"key": os.urandom(32).hex()})
        new = next(k["id"] for k in body["keys"] if k["id"] != old)
        a.write("POST", f"/v2/keys/{new}/use", {})
        a.write("DELETE", f"/v2/keys/{old}")
        return new

    def restart_twice(self):
        for pause in (3, 0):
            for a in self.agents:
                a.kill()
            at = time.time()
            for a in self.agents:
                a.start()
            last = time.time()
            time.sleep(pause)
        self.wait_whole(60)
        return max(0.0, (self.whole_since(at) - last) * 1000)
