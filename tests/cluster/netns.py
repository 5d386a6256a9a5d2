# SPDX-License-Identifier: Apache-2.0
"""Network namespaces for the tests: hosts on one switch, with partitions and loss. Everything is
inside namespaces of its own; the machine's network is not touched. Needs root.

    with Net(["cloud", "a1", "a2"]) as net:
        with net.inside("a1"):            # sockets made and processes started here are a1's
            ...
        net.part({"a1"}, {"a2"})          # silently, both ways
        net.heal()

Namespaces are named blox-<pid>-<host>; those of processes that are gone are removed at the start,
with the processes in them.
"""
import atexit
import contextlib
import ctypes
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time

import harness

SKIPPED = 77
SUBNET = "10.213.77"
NOBODY = "02:00:00:00:00:01"  # a hardware address that nobody has: packets to it vanish
CROWD = 25  # the kernel resolves 1,024 neighbours at most, all namespaces together
CLONE_NEWNET = 0x40000000
libc = ctypes.CDLL(None, use_errno=True)


def sh(*argv, check=True):
    r = subprocess.run(argv, stdin=subprocess.DEVNULL, capture_output=True, text=True)
    if check and r.returncode != 0:
        raise harness.Failure(f"{' '.join(argv)}: {r.stderr.strip()}")
    return r


def why_not():
    """Why namespaces cannot be made here; "" if they can."""
    if not shutil.which("ip"):
        return "there is no ip command"
    name = f"blox-{os.getpid()}-try"
    r = sh("ip", "netns", "add", name, check=False)
    if r.returncode == 0:
        r = sh("ip", "netns", "exec", name, "true", check=False)  # refused in a plain chroot
        sh("ip", "netns", "del", name, check=False)
    return "" if r.returncode == 0 else r.stderr.strip() or "ip netns failed"


def skip_unless_possible():
    """Says so and ends with 77 where namespaces cannot be made."""
    why = why_not()
    if why:
        print(f"SKIPPED: network namespaces cannot be made here: {why}")
        print("0 passed, 0 failed, 1 skipped")
        sys.exit(SKIPPED)


def remove_stale():
    for line in sh("ip", "netns", "list").stdout.splitlines():
        m = re.match(r"blox-(\d+)-\S+", line)
        if m and not os.path.exists(f"/proc/{m.group(1)}"):
            for pid in sh("ip", "netns", "pids", m.group(0), check=False).stdout.split():
                with contextlib.suppress(OSError):
                    os.kill(int(pid), signal.SIGKILL)
            sh("ip", "netns", "del", m.group(0), check=False)


class Net:
    def __init__(self, hosts):
        self.hosts = list(hosts)
        self.prefix = f"blox-{os.getpid()}-"
        self.made = []
        self.parted = set()
        self.own = os.open("/proc/self/ns/net", os.O_RDONLY | os.O_CLOEXEC)

    def address(self, host):
        return f"{SUBNET}.{self.hosts.index(host) + 1}"

    def ns(self, host):
        return self.prefix + host

    def run(self, host, *argv, check=True):
        return sh("ip", "netns", "exec", self.ns(host), *argv, check=check)

    def __enter__(self):
        remove_stale()
        atexit.register(self.close)
        try:
            self.make()
        except BaseException:
            self.close()
            raise
        return self

    def make(self):
        for name in ["switch", *self.hosts]:
            sh("ip", "netns", "add", self.ns(name))
            self.made.append(name)
            self.run(name, "ip", "link", "set", "lo", "up")
        self.run("switch", "ip", "link", "add", "br0", "type", "bridge")
        self.run("switch", "ip", "link", "set", "br0", "up")
        for i, host in enumerate(self.hosts):
            port = f"p{i + 1}"
            self.run("switch", "ip", "link", "add", port, "type", "veth", "peer", "name", "eth0",
                     "netns", self.ns(host))
            self.run("switch", "ip", "link", "set", port, "master", "br0", "up")
            self.run(host, "ip", "addr", "add", f"{self.address(host)}/24", "dev", "eth0")
            self.run(host, "ip", "link", "set", "eth0", "address", self.hardware(host), "up")
        if len(self.hosts) > CROWD:
            for host in self.hosts:
                self.neighbours(host, {other: self.hardware(other) for other in self.hosts
                                       if other != host})

    def hardware(self, host):
        return f"02:00:0a:d5:4d:{self.hosts.index(host) + 1:02x}"

    def neighbours(self, host, hardware):
        """{other host: the hardware address that packets to it go to}"""
        lines = "".join(f"neigh replace {self.address(other)} lladdr {address} dev eth0 nud "
                        "permanent\n" for other, address in hardware.items())
        r = subprocess.run(["ip", "-n", self.ns(host), "-batch", "-"], input=lines,
                           capture_output=True, text=True)
        if r.returncode != 0:
            raise harness.Failure(f"neighbours of {host}: {r.stderr.strip()}")

    def __exit__(self, *_):
        self.close()

    def close(self):
        atexit.unregister(self.close)
        made, self.made = self.made, []
        for name in reversed(made):
            sh("ip", "netns", "del", self.ns(name), check=False)

    @contextlib.contextmanager
    def inside(self, host):
        """This thread is on that host: for making sockets and starting processes."""
        fd = os.open(f"/run/netns/{self.ns(host)}", os.O_RDONLY | os.O_CLOEXEC)
        try:
            if libc.setns(fd, CLONE_NEWNET) != 0:
                raise OSError(ctypes.get_errno(), "setns")
        finally:
            os.close(fd)
        try:
            yield
        finally:
            libc.setns(self.own, CLONE_NEWNET)

    # ---- faults ----

    def part(self, one, other):
        """Nothing passes between the two sets of hosts, and nobody is told. The addresses resolve
        to a hardware address that nobody has: needs no firewall."""
        for a in one:
            self.neighbours(a, {b: NOBODY for b in other})
        for b in other:
            self.neighbours(b, {a: NOBODY for a in one})
        self.parted |= {(a, b) for a in one for b in other}
        self.parted |= {(b, a) for a in one for b in other}

    def heal(self):
        for host in {a for a, _ in self.parted}:
            self.neighbours(host, {b: self.hardware(b) for a, b in self.parted if a == host})
        self.parted = set()

    def unplug(self, host):
        """The host vanishes for all."""
        self.run("switch", "ip", "link", "set", f"p{self.hosts.index(host) + 1}", "down")

    def plug(self, host):
        self.run("switch", "ip", "link", "set", f"p{self.hosts.index(host) + 1}", "up")

    def lose(self, host, percent):
        """That share of what arrives at the host is lost. Returns how it is done, or "" if neither
        the kernel's netem nor iptables' statistic match is there."""
        if percent == 0:
            self.run("switch", "tc", "qdisc", "del", "dev", self.port(host), "root", check=False)
            self.run(host, "iptables", "-F", "INPUT", check=False)
            return "none"
        r = self.run("switch", "tc", "qdisc", "add", "dev", self.port(host), "root", "netem",
                     "loss", f"{percent}%", check=False)
        if r.returncode == 0:
            return "netem"
        for tool in ("iptables", "iptables-legacy"):
            if shutil.which(tool):
                r = self.run(host, tool, "-A", "INPUT", "-i", "eth0", "-m", "statistic", "--mode",
                             "random", "--probability", f"{percent / 100}", "-j", "DROP",
                             check=False)
                if r.returncode == 0:
                    return tool
        return ""

    def port(self, host):
        return f"p{self.hosts.index(host) + 1}"


# ---- the cluster of harness.py, each agent on a host of its own ----

FRONT = r"""
import asyncio, json, re, sys, time
# The cloud listens on loopback only: this stands before it and notes who asked what.
address, port, path = sys.argv[1], int(sys.argv[2]), sys.argv[3]
log = open(path, "a", buffering=1)
async def pump(reader, writer, peer):
    tail = b""
    try:
        while data := await reader.read(65536):
            if peer:
                text = tail + data
                end = 0
                for m in re.finditer(rb"X-Amz-Target: *([\w.]+)\r\n", text, re.I):
                    log.write(json.dumps({"t": time.time(), "from": peer,
                                          "target": m.group(1).decode()}) + "\n")
                    end = m.end()
                tail = text[max(end, len(text) - 120):]
            writer.write(data)
            await writer.drain()
    except OSError:
        pass
    finally:
        writer.close()
async def serve(reader, writer):
    try:
        up_reader, up_writer = await asyncio.open_connection("127.0.0.1", port)
    except OSError:
        writer.close()
        return
    await asyncio.gather(pump(reader, up_writer, writer.get_extra_info("peername")[0]),
                         pump(up_reader, writer, None))
async def main():
    server = await asyncio.start_server(serve, address, port)
    print("ready", flush=True)
    await server.serve_forever()
asyncio.run(main())
"""


class NetCloud(harness.Cloud):
    def __init__(self, net, directory, instances, cluster, args=()):
        self.net = net
        with net.inside("cloud"):
            super().__init__(directory, instances, cluster, args)
            self.asked_log = os.path.join(directory, "asked.jsonl")
            self.front = subprocess.Popen(
                [sys.executable, "-c", FRONT, net.address("cloud"), str(self.port),
                 self.asked_log], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE)
        harness.check(self.front.stdout.readline(), "the cloud's front did not start")
        # What agents are told: the address of the host instead of loopback.
        self.ready = json.loads(json.dumps(self.ready).replace(
            f"127.0.0.1:{self.port}", f"{net.address('cloud')}:{self.port}"))
        self.endpoint, self.queue_url = self.ready["endpoint"], self.ready["queue_url"]

    def control(self, verb, **args):
        with self.net.inside("cloud"):
            return super().control(verb, **args)

    def truth(self):
        with self.net.inside("cloud"):
            return super().truth()

    def asked(self, since=0.0):
        """Requests since a time.time(): [{"t", "from", "target"}]."""
        out = []
        with open(self.asked_log, encoding="utf-8") as f:
            for line in f:
                with contextlib.suppress(ValueError):
                    e = json.loads(line)
                    if e["t"] >= since:
                        out.append(e)
        return out

    def stop(self):
        self.front.kill()
        self.front.wait()
        self.front.stdout.close()
        super().stop()


class NetAgent(harness.Agent):
    def __init__(self, cluster, number):
        super().__init__(cluster, number)
        self.host = f"a{number}"
        self.address = cluster.net.address(self.host)
        self.api, self.gossip = 7380, 7381

    def config(self):
        out = super().config()
        out.update({
            "gossip.bind": f"{self.address}:7381", "gossip.advertise": f"{self.address}:7381",
            "gossip.join": ",".join(f"{a.address}:7381" for a in self.cluster.agents[:3])})
        out.update(self.settings)
        return out

    def start(self):
        with self.cluster.net.inside(self.host):
            return super().start()

    def request(self, *args, **named):
        with self.cluster.net.inside(self.host):
            return super().request(*args, **named)


class NetCluster(harness.Cluster):
    def __init__(self, net, agents, instances, name="test", cloud_args=()):
        super().__init__(agents=0, name=name, cloud=False)
        self.net = net
        self.cloud = NetCloud(net, self.dir, instances, name, cloud_args)
        self.agents = [NetAgent(self, i + 1) for i in range(agents)]


def wall():
    return time.time()
