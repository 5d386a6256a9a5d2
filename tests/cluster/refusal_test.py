#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Bad input and bad surroundings: a wrong key does not join and says so; unknown settings are
refused with the nearest spelling; without AWS, queue or ECS agent the agent runs, degraded, and
says why; bad requests name the field and change nothing."""
import os
import subprocess

from harness import BIN, Cluster, blox, check, run, wait_for


def bloxd(*args, env=None):
    clean = {k: v for k, v in os.environ.items() if not k.startswith(("BLOX_", "AWS_"))}
    clean.update(env or {})
    return subprocess.run([os.path.join(BIN, "bloxd"), *args], capture_output=True, text=True,
                          timeout=30, env=clean)


def refuses_settings(c):
    path = os.path.join(c.dir, "bad.conf")
    for text, says in (("[agent]\nclustre = x\n", "did you mean cluster"),
                       ("[agent]\nrole = boss\n", "candidate|member"),
                       ("[intake]\nreconcile_interval = soon\n", "duration"),
                       ("[gossip]\nkey_file = /nonexistent\n", "blox keygen")):
        with open(path, "w", encoding="utf-8") as f:
            f.write(text + f"\n[agent]\ndata_dir = {c.dir}/bad\n")
        r = bloxd("--config", path)
        check(r.returncode == 78, f"exit code {r.returncode} for {text!r}: {r.stderr}")
        check(says in r.stderr, f"{r.stderr!r} lacks {says!r}")
    for setting, says in (("--gossip.bind=127.0.0.1", "host:port"), ("--agent.zone=a b", "agent.zone"),
                          ("--gossip.join=127.0.0.1:70000", "1 to 65535"),
                          ("--gossip.advertise=224.0.0.1:7381", "multicast")):
        r = bloxd("--config", "/dev/null", setting, "--check-config")
        check(r.returncode == 78 and says in r.stderr, f"{setting}: {r.returncode} {r.stderr}")
    r = bloxd("--config", "/dev/null", env={"BLOX_AGENT_CLUSTR": "x"})
    check(r.returncode == 78 and "BLOX_AGENT_CLUSTR" in r.stderr, r.stderr)


def wrong_key_stays_out(c):
    stranger = c.agents[3]
    other = os.path.join(c.dir, "other.key")
    with open(other, "w", encoding="utf-8") as f:
        f.write(os.urandom(32).hex() + "\n")
    os.chmod(other, 0o600)
    stranger.settings["gossip.key_file"] = other
    stranger.start()
    wait_for("the stranger to say that the key may be wrong", 30,
             lambda: "key" in stranger.get("/v2/agent").get("why", ""))
    print("wrong key:", stranger.get("/v2/agent")["why"])
    check(len(c.agents[0].items("members")) == 3, "the stranger was let in")
    wait_for("a log line with key ids on the other side", 30,
             lambda: any(line.get("event") == "packet_refused" and "key" in line.get("message", "")
                         for a in c.agents[:3] for line in a.log_lines()))
    stranger.stop()


def seeds_file(c):
    """One that cannot be read is told of while the agent is alone, and read as soon as it can be."""
    lonely = c.agents[3]
    path = os.path.join(c.dir, "seeds")
    os.mkdir(path)
    lonely.settings.update({"gossip.key_file": c.key_file, "gossip.seeds_file": path, "gossip.join": ""})
    lonely.start()
    wait_for("it to tell of the directory", 30, lambda: (
        lambda why: "gossip.seeds_file" in why and "directory" in why)(lonely.get("/v2/agent")["why"]))
    os.rmdir(path)
    wait_for("it to tell that there is no file", 60,
             lambda: "No such file" in lonely.get("/v2/agent")["why"])
    with open(path, "w", encoding="utf-8") as f:
        f.write(f"127.0.0.1:{c.agents[0].gossip}\n")
    wait_for("it to get in", 60, lambda: len(lonely.items("members")) == 4)
    wait_for("no word of it", 20,
             lambda: "seeds_file" not in (lonely.get("/v2/agent").get("why") or ""))
    lonely.stop()
    del lonely.settings["gossip.seeds_file"]


def bad_requests(c):
    a = c.agents[1]
    cases = (
        ("POST", "/v2/environments", {"name": "a b", "cluster": "c", "taskDefinition": "d"}, "name"),
        ("POST", "/v2/environments", {"cluster": "c", "taskDefinition": "d"}, "name"),
        ("POST", "/v2/environments", {"name": "x", "cluster": c.name, "taskDefinition": "d",
                                      "exprssion": "y"}, "exprssion"),
        ("POST", "/v2/environments", "{not json", "JSON"),
        ("POST", "/v2/environments", {"name": "x", "cluster": c.name, "taskDefinition": "daemon:1",
                                      "expression": "attribute:a = b"}, "expression"),
        ("POST", "/v2/environments", {"name": "x", "cluster": c.name,
                                      "taskDefinition": "nosuch:7"}, "nosuch"),
        ("POST", "/v2/environments", {"name": "x", "cluster": "nosuch",
                                      "taskDefinition": "daemon:1"}, "nosuch"),
        ("POST", "/v2/environments/none/deployments", {}, "none"),
        ("GET", "/v2/tasks?statsu=RUNNING", None, "status"),
        ("GET", "/v2/tasks?limit=0", None, "limit"),
    )
    for method, path, body, says in cases:
        status, _, out = a.ask(method, path, body)
        check(400 <= status < 500, f"{method} {path} {body}: {status} {out}")
        check(says in str(out), f"{method} {path}: {out} lacks {says!r}")
    check(a.items("environments") == [], "a refused request changed something")


def alone_without_aws(c):
    lonely = c.agents[3]
    lonely.settings.update({
        "gossip.key_file": c.key_file, "gossip.join": "", "raft.expect": "1", "intake.queue": "",
        "aws.imds_endpoint": "http://127.0.0.1:9", "aws.ecs_endpoint": "http://127.0.0.1:9",
        "agent.id": "lonely", "agent.data_dir": os.path.join(lonely.dir, "data2"),
        "aws.ecs_agent_endpoint": ""})
    lonely.start()
    def degraded():
        body = lonely.get("/v2/agent")
        check(body["state"] == "degraded", body)
        check("credentials" in body["why"] or "queue" in body["why"], body)
        return body["why"]
    why = wait_for("degraded", 30, degraded)
    print("without AWS:", why)
    check(lonely.items("tasks") == [], "rows out of nowhere")
    status, _, body = lonely.request("GET", "/health/ready")
    check(status in (200, 503), f"{status} {body}")
    def told():  # the reason of now, which may be another than that of then
        code, out, err = blox(lonely, "status")
        check(code == 0 and lonely.get("/v2/agent")["why"][:20] in out, out + err)
        return True
    wait_for("the reason in blox status", 30, told)


def test():
    with Cluster(agents=4, instances=4) as c:
        for a in c.agents:
            a.settings["raft.expect"] = "3"
        refuses_settings(c)
        for a in c.agents[:3]:
            a.start()
        c.wait_ready()
        wrong_key_stays_out(c)
        seeds_file(c)
        bad_requests(c)
        alone_without_aws(c)


run(test)
