#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Rotation of the gossip key of a running cluster: no packet is refused, the files of all members
hold the new key, and a restarted member comes back with it. Two operators at once do not part the
members, who cannot save a key does not acknowledge it, and who was away meanwhile is told of, and
comes back with the new key."""
import hashlib
import os
import shutil
import threading
import time

from harness import Cluster, blox, check, run, wait_for


def key_id(text):
    return hashlib.blake2b(bytes.fromhex(text), digest_size=32).hexdigest()[:16]


def all_alive(c, count):
    return all(len([m for m in a.items("members") if m["state"] == "alive"]) == count
               for a in c.agents if a.alive())


def refused(c):
    lines = [line for a in c.agents for line in a.log_lines()
             if line.get("event") == "packet_refused"]
    return lines, [a.get("/v2/agent")["gossip"]["rejected"] for a in c.agents]


def refusals(c, old, new):
    a = c.agents[0]
    code, _, err = blox(a, "keys", "use", new)
    check(code == 3 and "no member has key" in err, f"use before install: {code} {err}")
    code, _, err = blox(a, "keys", "remove", old)
    check(code == 6 and "seal with key" in err, f"remove of the one that seals: {code} {err}")
    code, _, err = blox(a, "keys", "remove", "0123456789abcdef")
    check(code == 3 and "no member has key" in err, f"remove of one nobody has: {code} {err}")
    status, _, out = a.request("POST", "/v2/keys", {"key": "short"})
    check(status == 400, f"a bad key was answered {status} {out}")
    status, _, out = a.request("DELETE", "/v2/keys/nonsense")
    check(status == 404, f"a bad id was answered {status} {out}")


def full_ring(c):
    """The ninth key finds no room, is told why, and there is room again for those that follow."""
    keys = [os.urandom(32).hex() for _ in range(8)]
    for k in keys:
        out = c.agents[1].write("POST", "/v2/keys", {"key": k})
        check(out["all"] == (k != keys[-1]), f"key {keys.index(k)} of eight: {out}")
    check(all("refused: " in m["why"] and "remove one" in m["why"] for m in out["missing"]),
          f"a full ring: {out}")
    for k in keys[:-1]:
        c.agents[2].write("DELETE", f"/v2/keys/{key_id(k)}")


def by_all(agent, *args):
    """A step is repeated, as its output asks for, while a member answered too late; what all have
    removed by then nobody has any more."""
    codes = []

    def done():
        code, out, err = blox(agent, "keys", *args)
        codes.append(code)
        if args[0] == "remove" and code == 3 and 1 in codes:
            return out
        check(code == 0 and "5 of 5 members acknowledged" in out, f"{args}: {code} {out} {err}")
        return out
    return wait_for(f"keys {args[0]} by all", 60, done)


def rotate(c, old, new, path):
    out = by_all(c.agents[1], "install", path)
    check(out.startswith(f"{new}: "), out)
    by_all(c.agents[2], "use", new)
    wait_for("records between the steps", 60, lambda: c.agents[3].write(
        "POST", "/v2/agent/propagate", {"count": 50})["all"])
    by_all(c.agents[3], "remove", old)
    body = wait_for("an answer of all", 60, lambda: (
        lambda b: b if b["all"] else None)(c.agents[4].get("/v2/keys")))
    check([k["id"] for k in body["keys"]] == [new], f"keys after the rotation: {body}")
    check(body["keys"][0]["members"] == 5 and body["keys"][0]["sealing"] == 5, f"counts: {body}")


def ring(agent):
    with open(agent.key_file, encoding="utf-8") as f:
        return tuple(line for line in f.read().split() if len(line) == 64)


def two_operators(c, first, second, path):
    """One uses the key that the other removes: one of them is refused, and all rings are alike."""
    done = {"use": 0, "remove": 0}
    for turn in range(25):
        by_all(c.agents[0], "install", path)
        codes = {}

        def step(verb, agent, wait):
            time.sleep(wait)
            codes[verb] = blox(agent, "keys", verb, second)
        threads = [threading.Thread(target=step, args=a) for a in (
            ("use", c.agents[1], 0), ("remove", c.agents[3], turn % 10 / 1000))]
        for t in threads:
            t.start()
        for t in threads:
            t.join()
        check(all(code in (0, 1, 3, 6) for code, _, _ in codes.values()), f"{codes}")
        rings = {ring(a) for a in c.agents}
        check(len(rings) == 1, f"turn {turn}: {codes} left {rings}")
        for verb, (code, _, _) in codes.items():
            done[verb] += code == 0
        by_all(c.agents[2], "use", first)
    print(f"of two operators at once: {done}")


def not_saved(c, key, path):
    """A member whose file cannot be written acknowledges no key, however often it is asked, and
    says so itself; nothing is used or removed before it can, which it tries again."""
    bad, asked = c.agents[2], c.agents[0]
    name, aside = bad.get("/v2/agent")["id"], bad.key_file + ".aside"
    with open(bad.key_file, encoding="utf-8") as f:
        before = f.read()
    os.rename(bad.key_file, aside)
    os.mkdir(bad.key_file)  # what no file can take the place of, for root neither
    code, out, err = blox(asked, "keys", "install", path)
    cause = f"{name}: changed gossip keys are not saved: cannot write {bad.key_file}: "
    check(code == 1 and "4 of 5 members acknowledged" in out and cause in out,
          f"install: {code} {out} {err}")
    code, out, err = blox(asked, "keys", "list")
    line = [x for x in out.splitlines() if x.startswith(key)]
    check(code == 1 and cause in out and line and "4 of 5" in line[0], f"list: {code} {out} {err}")
    code, out, err = blox(asked, "keys", "use", key)
    check(code == 6 and bad.key_file in err, f"use: {code} {out} {err}")
    wait_for("it to say so itself", 30, lambda: bad.key_file in bad.get("/v2/agent")["why"])
    os.rmdir(bad.key_file)
    wait_for("its own next attempt", 30, lambda: os.path.exists(bad.key_file) and ring(bad)
             and blox(asked, "keys", "list")[0] == 0)
    with open(bad.key_file, encoding="utf-8") as f:
        check(len(f.read()) > len(before), "the new key is not in the file")
    os.unlink(aside)
    by_all(asked, "remove", key)


def one_away(c, old_key, new_key, path):
    """It was down while the others rotated: with the old key alone it does not get in, and is told
    so; with the new one it does."""
    away, other = c.agents[4], c.agents[0]
    name = away.get("/v2/agent")["id"]
    away.kill()
    wait_for("the failure", 30, lambda: any(
        m["id"] == name and m["state"] == "failed" for m in other.items("members")))
    for step in (("install", path), ("use", key_id(new_key)), ("remove", key_id(old_key))):
        code, out, err = blox(other, "keys", *step)
        check(code == 0 and f"{name} is failed" in out, f"{step}: {code} {out} {err}")
    away.start()
    wait_for("it to say why it is alone", 60, lambda: "its key is not ours" in
             away.get("/v2/agent")["why"])
    check(not all_alive(c, 5), "it got in with a key that was removed")
    away.stop()
    shutil.copy(other.key_file, away.key_file)
    away.start()
    wait_for("five members again", 60, lambda: all_alive(c, 5))


def test():
    with Cluster(agents=5, cloud=False) as c:
        with open(c.key_file, encoding="utf-8") as f:
            old_key = f.read().strip()
        new_key = os.urandom(32).hex()
        new_file = os.path.join(c.dir, "new.key")
        with open(new_file, "w", encoding="utf-8") as f:
            f.write(new_key + "\n")
        for a in c.agents:
            a.key_file = os.path.join(a.dir, "gossip.key")
            shutil.copy(c.key_file, a.key_file)
            os.chmod(a.key_file, 0o600)
            a.settings["gossip.key_file"] = a.key_file
        c.start()
        wait_for("five members", 30, lambda: all_alive(c, 5))
        old, new = key_id(old_key), key_id(new_key)
        refusals(c, old, new)
        full_ring(c)
        before = refused(c)
        rotate(c, old, new, new_file)
        for a in c.agents:
            with open(a.key_file, encoding="utf-8") as f:
                text = f.read()
            check(new_key in text and old_key not in text, f"file of agent {a.number}")
            check(os.stat(a.key_file).st_mode & 0o777 == 0o600, "mode of the key file")
            with open(a.log, encoding="utf-8") as f:
                check(new_key not in f.read(), "a key in the log")
        time.sleep(1)
        check(refused(c) == before, f"before the rotation {before}, after it {refused(c)}")
        c.agents[2].stop()
        c.agents[2].start()
        wait_for("the restarted member", 30, lambda: all_alive(c, 5))
        third_key, third_file = os.urandom(32).hex(), os.path.join(c.dir, "third.key")
        with open(third_file, "w", encoding="utf-8") as f:
            f.write(third_key + "\n")
        not_saved(c, key_id(third_key), third_file)
        two_operators(c, new, key_id(third_key), third_file)
        one_away(c, new_key, third_key, third_file)


run(test)
