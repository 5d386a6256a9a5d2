# SPDX-License-Identifier: Apache-2.0
"""serf (Debian's, LAN defaults, unsealed) on the same hosts, to the same measure. Times are when its
log line arrives, which it writes at once."""
import os
import select
import subprocess
import threading
import time

from gossip_hosts import ip_sent
from harness import Failure, wait_for


class Hosts:
    who = "serf"

    def __init__(self, net, count):
        self.net = net
        self.names = [f"a{i + 1}" for i in range(count)]
        self.processes = {}
        self.poll = select.poll()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        for p in self.processes.values():
            p.kill()
            p.wait()
            p.stdout.close()

    def start(self, host):
        address = self.net.address(host)
        first = self.net.address(self.names[0])
        with self.net.inside(host):
            p = subprocess.Popen(
                ["serf", "agent", f"-node={host}", f"-bind={address}:7946",
                 "-rpc-addr=127.0.0.1:7373", "-profile=lan", "-log-level=info",
                 *([f"-retry-join={first}:7946"] if host != self.names[0] else [])],
                stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        os.set_blocking(p.stdout.fileno(), False)
        self.processes[host] = p
        self.poll.register(p.stdout.fileno(), select.POLLIN)

    def serf(self, host, *argv):
        with self.net.inside(host):
            return subprocess.run(["serf", *argv], capture_output=True, text=True).stdout

    def alive(self, host):
        return self.serf(host, "members", "-status=alive").count("alive")

    def arrivals(self, hosts, word, seconds=120):
        """Monotonic time at which each of these hosts logged the word."""
        fds = {self.processes[h].stdout.fileno() for h in hosts}
        seen, text, end = {}, {}, time.monotonic() + seconds
        while len(seen) < len(fds):
            if time.monotonic() > end:
                raise Failure(f"{len(fds) - len(seen)} hosts did not log {word}")
            for fd, _ in self.poll.poll(200):
                text[fd] = (text.get(fd, b"") + os.read(fd, 1 << 16))[-8192:]
                if fd in fds and word in text[fd]:
                    seen.setdefault(fd, time.monotonic())
        return list(seen.values())

    def hosts(self):
        return self.names

    def pids(self):
        return [self.processes[h].pid for h in self.names]

    def sent(self):
        return ip_sent(self.net, self.names)

    def wait_whole(self, seconds=120):
        wait_for("serf to be whole", seconds,
                 lambda: all(self.alive(h) == len(self.names) for h in self.names), 0.2)

    def mass_start(self):
        for h in self.names:
            self.start(h)
        last = time.monotonic()
        self.wait_whole()  # asked for by a command each: this much too long at most
        return (time.monotonic() - last) * 1000

    def spread(self, times):
        took = []
        for i in range(times):
            word = f"mark-{i}-x"
            at = time.monotonic()
            t = threading.Thread(target=self.serf,
                                 args=(self.names[0], "event", "-coalesce=false", word))
            t.start()
            took += [(s - at) * 1000 for s in self.arrivals(self.names, word.encode())]
            t.join()
            time.sleep(0.3)
        return took

    def failure(self, host, end):
        others = [h for h in self.names if h != host]
        at = time.monotonic()
        end()
        return [(s - at) * 1000
                for s in self.arrivals(others, f"EventMemberFailed: {host} ".encode())]

    def vanish(self, index):
        host = self.names[index]
        took = self.failure(host, lambda: self.net.unplug(host))
        self.net.plug(host)
        self.wait_whole()
        return took

    def kill(self, index):
        host = self.names[index]
        p = self.processes[host]
        took = self.failure(host, p.kill)
        self.poll.unregister(p.stdout.fileno())
        p.wait()
        p.stdout.close()
        self.start(host)
        self.wait_whole()
        return took

    def newcomer(self):
        host = f"a{len(self.names) + 1}"
        at = time.monotonic()
        self.start(host)
        seen = self.arrivals(self.names, f"EventMemberJoin: {host} ".encode())
        self.names.append(host)
        wait_for("the newcomer to see all", 60, lambda: self.alive(host) == len(self.names), 0.02)
        return (max(seen) - at) * 1000, (time.monotonic() - at) * 1000

    def partition(self, seconds):
        half = len(self.names) // 2
        one, other = self.names[:half], self.names[half:]
        self.net.part(set(one), set(other))
        time.sleep(seconds)
        self.net.heal()
        at = time.monotonic()
        wait_for("contact", 120, lambda: self.alive(one[0]) > half, 0.05)
        contact = time.monotonic()
        self.wait_whole()
        return (contact - at) * 1000, (time.monotonic() - at) * 1000
