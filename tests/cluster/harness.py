# SPDX-License-Identifier: Apache-2.0
"""Real processes for the cluster tests: the local cloud and agents, each with a directory and
ports of its own under one temporary directory. Only the standard library.

    with Cluster(agents=5, instances=200) as c:
        c.wait_ready()
        c.agents[0].post("/v2/environments", {...})
"""
import http.client
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import urllib.parse

BIN = os.environ.get("BLOX_BIN") or os.path.join(
    os.path.dirname(os.path.abspath(__file__)), "../../build/dev/bin")
TIMEOUT_SCALE = float(os.environ.get("BLOX_TIMEOUT_SCALE", "1"))


class Failure(Exception):
    pass


def check(condition, text):
    if not condition:
        raise Failure(text)


def wait_for(what, seconds, probe, every=0.05):
    """Polls probe() until it returns something true; returns that. An answer that lacks what is looked
    for, or none, is not the end. Time in which the machine did not run this process does not count."""
    end = time.monotonic() + seconds * TIMEOUT_SCALE
    while True:
        last_one = time.monotonic() >= end
        try:
            last = probe()
            if last:
                return last
        except (OSError, http.client.HTTPException, ValueError, LookupError, TypeError,
                AttributeError, Failure) as e:
            last = e
        if last_one:
            raise Failure(f"waited {seconds} s in vain for {what}; last: {last!r}")
        asleep = time.monotonic()
        time.sleep(every)
        end += time.monotonic() - asleep - every


class Lateness(threading.Thread):
    """How late this machine lets run who wants to run: the longest so far, in seconds. What is held to
    a time is given that in addition, some turns of it."""

    def __init__(self):
        super().__init__(daemon=True)
        self.longest = 0.0
        self.start()

    def run(self):
        while True:
            begun = time.monotonic()
            time.sleep(0.02)
            self.longest = max(self.longest, time.monotonic() - begun - 0.02)

    def allow(self, seconds, turns=10):
        return seconds + turns * self.longest


def free_port():
    """A TCP and UDP port free on loopback, below the ephemeral range so that nobody takes it; tests
    that run side by side take theirs from different blocks of 100."""
    if not hasattr(free_port, "next"):
        free_port.lock = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        for block in range(80):
            try:
                free_port.lock.bind(f"\0blox-test-ports-{block}")
            except OSError:
                continue
            free_port.next = 20000 + 100 * block
            break
    while True:
        free_port.next += 1
        port = free_port.next
        try:
            with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as t, \
                    socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as u:
                t.bind(("127.0.0.1", port))
                u.bind(("127.0.0.1", port))
                return port
        except OSError:
            continue


def free_ports_in_a_row(count):
    """The first of count ports one after the other, each as free_port() says."""
    first = free_port()
    last = first
    while last - first < count - 1:
        port = free_port()
        first = first if port == last + 1 else port
        last = port
    return first


def request(port, method, path, body=None, headers=None, timeout=20):
    """(status, headers, parsed body or text)."""
    conn = http.client.HTTPConnection("127.0.0.1", port, timeout=timeout)
    try:
        headers = dict(headers or {})
        data = None
        if body is not None:
            data = body if isinstance(body, (bytes, str)) else json.dumps(body)
            headers.setdefault("Content-Type", "application/json")
        conn.request(method, path, data, headers)
        r = conn.getresponse()
        raw = r.read()
        kind = r.getheader("Content-Type", "")
        whole = "json" in kind and "ndjson" not in kind and raw.strip()
        out = json.loads(raw) if whole else raw.decode("utf-8", "replace")
        return r.status, dict(r.getheaders()), out
    finally:
        conn.close()


def blox(agent, *args, expect=None):
    """The command at that agent: (exit code, stdout, stderr). 5 says that no leader is known, which an
    election is enough for; it is then called again."""
    end = time.monotonic() + 60 * TIMEOUT_SCALE
    while True:
        p = subprocess.run([os.path.join(BIN, "blox"), "--address", f"http://127.0.0.1:{agent.api}",
                            *args], capture_output=True, text=True, check=False)
        if p.returncode != 5 or expect == 5 or time.monotonic() >= end:
            break
        time.sleep(0.2)
    check(expect in (None, p.returncode), f"blox {args}: {p.returncode} {p.stdout} {p.stderr}")
    return p.returncode, p.stdout, p.stderr


class Process:
    def __init__(self, argv, log, env=None):
        self.log = log
        self.out = open(log, "ab")
        self.p = subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=self.out,
                                  stderr=subprocess.STDOUT, env=env, start_new_session=True)

    def send(self, number):
        if self.p.poll() is None:
            self.p.send_signal(number)

    def alive(self):
        return self.p.poll() is None

    def stop(self, number=signal.SIGTERM, seconds=15):
        self.send(signal.SIGCONT)
        self.send(number)
        try:
            code = self.p.wait(seconds * TIMEOUT_SCALE)
        except subprocess.TimeoutExpired:
            self.p.kill()
            self.p.wait()
            raise Failure(f"process did not stop within {seconds} s: {self.log}")
        finally:
            self.out.close()
        return code


class Cloud:
    """The local cloud."""

    def __init__(self, directory, instances, cluster, args=()):
        self.log = os.path.join(directory, "cloud.log")
        self.truth_log = os.path.join(directory, "truth.jsonl")
        err = open(self.log, "ab")
        argv = [os.path.join(BIN, "blox-devcloud"), "--port", "0", "--instances", str(instances),
                "--cluster", cluster, "--truth-log", self.truth_log, *args]
        self.p = subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                                  stderr=err, start_new_session=True)
        line = self.p.stdout.readline()
        check(line, f"the cloud did not start; see {self.log}")
        self.ready = json.loads(line)
        self.endpoint = self.ready["endpoint"]
        self.port = urllib.parse.urlparse(self.endpoint).port
        self.queue_url = self.ready["queue_url"]

    def control(self, verb, **args):
        status, _, body = request(self.port, "POST", f"/_control/{verb}", args, timeout=120)
        check(status == 200, f"control {verb} {args}: {status} {body}")
        return body

    def truth(self):
        status, _, body = request(self.port, "GET", "/_control/truth", timeout=120)
        check(status == 200, f"truth: {status}")
        return body

    def running(self, group=None):
        """{instance ARN: [live tasks]} as ECS sees them."""
        out = {}
        for t in self.truth()["tasks"]:
            if t.get("desiredStatus") == "STOPPED" or t.get("lastStatus") == "STOPPED":
                continue
            if group is None or t.get("group") == group:
                out.setdefault(t["containerInstanceArn"], []).append(t)
        return out

    def stop(self):
        if self.p.poll() is None:
            self.p.terminate()
            try:
                self.p.wait(5)
            except subprocess.TimeoutExpired:
                self.p.kill()
                self.p.wait()
        self.p.stdout.close()


class Agent:
    def __init__(self, cluster, number):
        self.cluster = cluster
        self.number = number
        self.dir = os.path.join(cluster.dir, f"agent-{number}")
        self.api = free_port()
        self.gossip = free_port()
        self.settings = {}
        self.env = {}
        self.process = None
        os.makedirs(self.dir, exist_ok=True)

    @property
    def log(self):
        return os.path.join(self.dir, "log")

    def config(self):
        c = self.cluster
        instance = c.instance_of(self.number)
        out = {
            "agent.cluster": c.name, "agent.data_dir": os.path.join(self.dir, "data"),
            "agent.log_format": "json",
            "gossip.bind": f"127.0.0.1:{self.gossip}", "gossip.key_file": c.key_file,
            "gossip.join": ",".join(f"127.0.0.1:{a.gossip}" for a in c.agents[:3]),
            "gossip.join_ecs": "false",
            "raft.expect": str(len(c.agents)), "raft.bootstrap_wait": "500ms",
            "aws.region": c.cloud.ready.get("region", "us-east-1") if c.cloud else "us-east-1",
            "api.bind": f"127.0.0.1:{self.api}", "api.socket": os.path.join(self.dir, "sock"),
            "api.anonymous": "write",
        }
        if c.cloud:
            out.update({
                "aws.ecs_endpoint": c.cloud.endpoint, "aws.sqs_endpoint": c.cloud.endpoint,
                "aws.sts_endpoint": c.cloud.endpoint, "aws.ec2_endpoint": c.cloud.endpoint,
                "intake.queue": c.cloud.queue_url})
        if instance:
            out.update({"aws.imds_endpoint": instance["imds"],
                        "aws.ecs_agent_endpoint": instance["ecs_agent"]})
        else:
            out.update({"agent.id": f"test-agent-{self.number}", "aws.ecs_agent_endpoint": ""})
        out.update(self.settings)
        return out

    def write_config(self):
        path = os.path.join(self.dir, "bloxd.conf")
        sections = {}
        for key, value in self.config().items():
            section, name = key.split(".", 1)
            sections.setdefault(section, []).append(f"{name} = {value}")
        with open(path, "w", encoding="utf-8") as f:
            for section, rows in sections.items():
                f.write(f"[{section}]\n" + "\n".join(rows) + "\n")
        return path

    def environment(self):
        env = {k: v for k, v in os.environ.items()
               if not k.startswith(("AWS_", "BLOX_")) and not k.lower().endswith("_proxy")}
        env.update({"ASAN_OPTIONS": "abort_on_error=0:detect_leaks=1",
                    "AWS_EC2_METADATA_DISABLED": "false"})
        env.update(self.env)
        return env

    def start(self):
        self.process = Process([os.path.join(BIN, "bloxd"), "--config", self.write_config()],
                               self.log, self.environment())
        return self

    def alive(self):
        return self.process is not None and self.process.alive()

    def kill(self):
        self.process.send(signal.SIGKILL)
        self.process.p.wait()
        self.process.out.close()
        self.process = None

    def stop(self, seconds=15):
        code = self.process.stop(seconds=seconds)
        self.process = None
        check(code == 0, f"agent {self.number} ended with {code}; see {self.log}")

    def pause(self):
        self.process.send(signal.SIGSTOP)

    def resume(self):
        self.process.send(signal.SIGCONT)

    def request(self, method, path, body=None, headers=None, timeout=20):
        return request(self.api, method, path, body, headers, timeout)

    def ask(self, method, path, body=None, headers=None):
        """Like request, but asks again, as clients do, while a leader is elected: the same key, so
        that what was done already is not done twice."""
        end = time.monotonic() + 60 * TIMEOUT_SCALE
        if method != "GET":
            headers = {"Idempotency-Key": os.urandom(8).hex(), **(headers or {})}
        while True:
            status, head, out = self.request(method, path, body, headers, timeout=60)
            if status not in (503, 504) or time.monotonic() >= end:
                return status, head, out
            time.sleep(0.2)

    def get(self, path):
        status, _, body = self.ask("GET", path)
        check(status == 200, f"GET {path} on agent {self.number}: {status} {body}")
        return body

    def write(self, method, path, body=None, expect=(200, 201, 202), headers=None):
        status, _, out = self.ask(method, path, body, headers)
        check(status in expect, f"{method} {path} on agent {self.number}: {status} {out}")
        return out

    def items(self, kind, query=""):
        """All pages of /v2/<kind>."""
        if kind == "members":
            return self.get("/v2/members")["items"]
        out, token = [], None
        while True:
            path = f"/v2/{kind}?limit=1000{query}"
            if token:
                path += "&next_token=" + urllib.parse.quote(token)
            page = self.get(path)
            out += page["items"]
            token = page.get("next_token")
            if not token:
                return out

    def state(self):
        return self.get("/v2/agent").get("state")

    def leading(self):
        return self.get("/v2/agent").get("leading", False)

    def log_lines(self):
        with open(self.log, encoding="utf-8", errors="replace") as f:
            for line in f:
                try:
                    yield json.loads(line)
                except ValueError:
                    yield {"event": "raw", "message": line.rstrip()}


class Cluster:
    def __init__(self, agents=3, instances=3, name="test", cloud_args=(), cloud=True):
        self.name = name
        self.dir = tempfile.mkdtemp(prefix="blox-cluster-")
        self.keep = False
        self.cloud = None
        self.agents = []
        self.key_file = os.path.join(self.dir, "gossip.key")
        with open(self.key_file, "w", encoding="utf-8") as f:
            f.write(os.urandom(32).hex() + "\n")
        os.chmod(self.key_file, 0o600)
        if cloud:
            self.cloud = Cloud(self.dir, instances, name, cloud_args)
        self.agents = [Agent(self, i + 1) for i in range(agents)]

    def instance_of(self, number):
        if not self.cloud or number > len(self.cloud.ready["instances"]):
            return None
        return self.cloud.ready["instances"][number - 1]

    def __enter__(self):
        return self

    def __exit__(self, kind, value, trace):
        if kind is not None:
            self.keep = True
        problems = []
        for a in self.agents:
            if a.alive():
                try:
                    a.stop()
                except Failure as e:
                    problems.append(str(e))
        if self.cloud:
            self.cloud.stop()
        for a in self.agents:
            if os.path.exists(a.log):
                with open(a.log, encoding="utf-8", errors="replace") as f:
                    text = f.read()
                if "ERROR: AddressSanitizer" in text or "runtime error:" in text \
                        or "LeakSanitizer" in text or "ensure failed" in text:
                    at = min(i for i in (text.find("ERROR: "), text.find("runtime error:"),
                                         text.find("LeakSanitizer"), text.find("ensure failed"))
                             if i >= 0)
                    problems.append(f"sanitizer report of agent {a.number}:\n{text[at:at + 3000]}")
        if self.keep or problems:
            print(f"left for inspection: {self.dir}", file=sys.stderr)
        else:
            shutil.rmtree(self.dir, ignore_errors=True)
        if problems and kind is None:
            raise Failure("\n".join(problems))
        for p in problems:
            print(p, file=sys.stderr)

    def start(self):
        for a in self.agents:
            a.start()
        return self

    def leader(self):
        for a in self.agents:
            if a.alive():
                try:
                    if a.leading():
                        return a
                except (OSError, Failure, http.client.HTTPException):
                    pass
        return None

    def wait_leader(self, seconds=20):
        return wait_for("a leader", seconds, self.leader)

    def wait_ready(self, seconds=30):
        started = [a for a in self.agents if a.process]
        check(started, "nobody was started")
        wait_for("all agents ready", seconds,
                 lambda: all(a.alive() and a.state() == "ready" for a in started))
        return self


def run(test):
    """Runs a test function; prints one closing line; exit code for ctest."""
    started = time.monotonic()
    try:
        test()
    except Failure as e:
        print(f"FAILED: {e}", file=sys.stderr)
        print("0 passed, 1 failed")
        sys.exit(1)
    print(f"ok ({time.monotonic() - started:.1f} s)")
    print("1 passed, 0 failed")
