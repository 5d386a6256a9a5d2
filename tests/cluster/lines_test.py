#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Agents started by the very lines of docs/operations.md, and what a program reads of them: standard
output is lines of JSON and nothing else, with an event for each change of each member as it is killed,
paused, stopped; and an agent whose output nobody reads lives on, and says all of it when it is read."""
import json
import os
import re
import signal
import subprocess
import tempfile
import time

from harness import BIN, TIMEOUT_SCALE, check, free_port, request, run, wait_for

DOC = os.path.join(os.path.dirname(os.path.abspath(__file__)), "../../docs/operations.md")
AGENTS = 5
RECORDS = 1000  # 170 KB of lines: more than a pipe takes


def commands(gossip, api):
    """The block of the document, at ports that are free here, and the agents' process ids."""
    with open(DOC, encoding="utf-8") as f:
        text = f.read().split("## Without AWS", 1)[1]
    block = re.search(r"```\n(.*?)```", text, re.S).group(1)
    for number, base in ((7400, gossip), (7500, api)):
        for i in range(AGENTS + 1):
            block = block.replace(str(number + i), str(base + i))
    start, last = block.strip().rsplit("\n", 1)
    check(last.startswith("blox "), f"the last command is {last}")
    return start + "\njobs -p > pids\n", last


class Lines:
    """Events in an agent's output so far, each a whole line."""

    def __init__(self, path):
        self.path = path

    def all(self):
        with open(self.path, encoding="utf-8") as f:
            text = f.read()
        check(text == "" or text.endswith("\n"), f"half a line: {text[-200:]}")
        return [json.loads(line) for line in text.splitlines()]

    def of(self, member):
        return [e["event"] for e in self.all() if e["event"].startswith("member_")
                and e["member"] == member]

    def applied(self):
        return [e["key"] for e in self.all() if e["event"] == "record_applied"]


def last_is(agents, member, event):
    def told():
        return all(lines.of(member)[-1] == event for lines in agents)
    wait_for(f"{event} of {member} at all", 60, told)


def members(api):
    return {m["id"]: m["state"] for m in request(api, "GET", "/v2/members")[2]["items"]}


def propagate(api, body):
    status, _, out = request(api, "POST", "/v2/agent/propagate", {**body, "timeout_ms": 20000})
    check(status == 200 and out["all"], f"propagate: {status} {out}")
    return out


def changes(api, pids, lines):
    ids = [f"n{i + 1}" for i in range(AGENTS)]
    for i in ids:
        last_is(lines, i, "member_alive")
    check(members(api + 1) == dict.fromkeys(ids, "alive"), f"{members(api + 1)}")
    propagate(api + 3, {"count": 20})
    for x in lines:
        wait_for("all test records", 60, lambda x=x: len(x.applied()) == 20)
        check(len(set(x.applied())) == 20, "one is told of twice")
    os.kill(pids[4], signal.SIGSTOP)
    last_is(lines[:4], "n5", "member_degraded")
    time.sleep(5)
    seen = [x.of("n5") for x in lines[:4]]
    check(not any("member_failed" in s for s in seen), f"a paused one was taken for dead: {seen}")
    os.kill(pids[4], signal.SIGCONT)
    last_is(lines, "n5", "member_alive")
    os.kill(pids[4], signal.SIGKILL)
    last_is(lines[:4], "n5", "member_failed")
    os.kill(pids[3], signal.SIGTERM)
    last_is(lines[:4], "n4", "member_left")
    check(members(api + 2) == {**dict.fromkeys(ids[:3], "alive"), "n4": "left", "n5": "failed"},
          f"{members(api + 2)}")


def unread(directory, env, gossip, api):
    """A sixth agent, whose output is a pipe."""
    number, own = AGENTS + 1, api + AGENTS + 1
    argv = [os.path.join(BIN, "bloxd"), "--config=/dev/null", "--log-format=json",
            f"--agent.id=n{number}", "--agent.cluster=test", f"--agent.data_dir={directory}/n6",
            f"--gossip.key_file={directory}/gossip.key",
            f"--gossip.bind=127.0.0.1:{gossip + number}", f"--gossip.join=127.0.0.1:{gossip + 1}",
            f"--api.bind=127.0.0.1:{own}", "--api.socket=", "--api.anonymous=write",
            "--aws.ecs_agent_endpoint="]
    with subprocess.Popen(argv, stdout=subprocess.PIPE, env=env) as p:
        try:
            wait_for("the sixth", 60, lambda: members(api + 1)["n6"] == "alive")
            for _ in range(2):
                propagate(api + 1, {"count": RECORDS})
            check(members(own)["n1"] == "alive" and members(api + 1)["n6"] == "alive",
                  "it hangs where nobody reads")
            p.terminate()
            out = p.communicate(timeout=60 * TIMEOUT_SCALE)[0].decode()
        finally:
            p.kill()
    events = [json.loads(line) for line in out.splitlines()]
    keys = {e["key"] for e in events if e["event"] == "record_applied"}
    # Of the run before, whose time was not over when it came, it was sent all as well.
    keys = {k for k in keys if int(k.split("/")[3], 16) == RECORDS}
    check(len(keys) == 2 * RECORDS, f"{len(keys)} records were told of")
    check(events[-1]["event"] == "stopped" and p.returncode == 0, f"{events[-1]} {p.returncode}")


def test():
    gossip, api = free_port(), free_port() + 20
    start, ask = commands(gossip, api)
    env = {k: v for k, v in os.environ.items() if not k.startswith(("AWS_", "BLOX_"))}
    env["AWS_EC2_METADATA_DISABLED"] = "true"
    env["PATH"] = f"{os.path.abspath(BIN)}:{env['PATH']}"
    with tempfile.TemporaryDirectory(prefix="blox-lines-") as d:
        pids = []
        try:
            subprocess.run(["bash", "-ec", start], cwd=d, env=env, check=True)
            with open(os.path.join(d, "pids"), encoding="ascii") as f:
                pids = [int(line) for line in f]
            check(len(pids) == AGENTS, f"{pids}")
            wait_for("the members", 60, lambda: len(members(api + 1)) == AGENTS)
            out = subprocess.run(["bash", "-ec", ask], cwd=d, env=env, check=True,
                                 capture_output=True, text=True).stdout
            check(len(out.splitlines()) == 1 + AGENTS, out)
            changes(api, pids, [Lines(os.path.join(d, f"n{i + 1}.jsonl")) for i in range(AGENTS)])
            unread(d, env, gossip, api)
        finally:
            for pid in pids:
                if f"data_dir={d}/" in cmdline(pid):
                    os.kill(pid, signal.SIGKILL)


def cmdline(pid):
    try:
        with open(f"/proc/{pid}/cmdline", encoding="utf-8") as f:
            return f.read()
    except OSError:
        return ""


if __name__ == "__main__":
    run(test)
