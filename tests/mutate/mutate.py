#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The mutation gate: puts the faults of mutants.txt into a copy of the tree, one at a time, and shows
that a simulator or a directed test finds each.

    mutate.py                      all; prints the score, fails unless all but the equivalent are killed
    mutate.py --only NAME...       these, or all whose names begin so
    mutate.py --few 3 --seconds 60 some, drawn by the commit; stops beginning new ones after so long
    mutate.py --check              does each still apply to the source exactly once? (no build)
"""
import argparse
import os
import random
import subprocess
import sys
import time

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(os.path.dirname(HERE))
COPY = os.path.join(ROOT, "build", "mutate")
LIMIT_S = 240  # a program that hangs: each finds its fault within 40 s, on a busy machine, too

# What finds faults: name -> (program, its arguments). One that ends with 0 found nothing.
KILLERS = {
    "raft_directed": ("unit_raft_directed_test", []),
    "raft_sim": ("raft_sim", ["--seeds", "20000", "--seconds", "30"]),
    "voters": ("unit_raft_voters_test", []),
    "boot": ("unit_raft_boot_test", []),
    "swim": ("unit_gossip_swim_test", []),
    "swim_address": ("unit_gossip_swim_address_test", []),
    "swim_alone": ("unit_gossip_swim_alone_test", []),
    "swim_lists": ("unit_gossip_swim_lists_test", []),
    "swim_calm": ("unit_gossip_swim_calm_test", []),
    "liar": ("unit_gossip_liar_test", []),
    "swim_sim": ("swim_sim", ["--seeds", "200", "--seconds", "40"]),
    "peers": ("unit_gossip_peers_test", []),
    "rumor": ("unit_gossip_rumor_test", []),
    "rumor_burst": ("unit_gossip_rumor_burst_test", []),
    "sync": ("unit_gossip_sync_test", []),
    "sync_liars": ("unit_gossip_sync_liars_test", []),
    "keyring": ("unit_agent_keyring_test", []),
    "records_sim": ("records_sim", []),
    "node": ("unit_gossip_node_test", []),
    "stolen_key": ("unit_gossip_stolen_key_test", []),
    "seal": ("unit_gossip_seal_test", []),
    "plan": ("unit_scheduler_plan_test", []),
    "rows": ("unit_rows_rows_test", []),
    "reconcile": ("unit_intake_reconcile_test", []),
    "conns": ("unit_api_conns_test", []),
    "stopped": ("unit_intake_stopped_test", []),
    "clusters": ("unit_intake_clusters_test", []),
    "events": ("unit_intake_events_test", []),
    "poll": ("unit_intake_poll_test", ["--filter", "poll/@(nothing|a_batch)*"]),
    "intent": ("unit_intent_intent_test", []),
    "daemons": ("unit_daemons_daemons_test", []),
    "known": ("unit_daemons_known_test", []),
    "outage": ("unit_daemons_outage_test", []),
    "peers_rows": ("unit_daemons_peers_rows_test", []),
    "attack": ("unit_gossip_attack_test", []),
    "census": ("unit_agent_census_test", []),
    "ownkey": ("unit_agent_ownkey_test", []),
    "commands": ("unit_agent_commands_test", []),
    "crash": ("unit_store_crash_test", []),
    "gather": ("unit_store_gather_test", []),
    "long": ("unit_store_long_test", []),
    "ordered": ("unit_store_ordered_test", []),
    "filters": ("unit_api_filters_test", []),
    "removed": ("agents_sim", ["--removed", "--seeds", "20", "--seconds", "40"]),
    "leftout": ("agents_sim", ["--leftout", "--seeds", "60", "--seconds", "40"]),
    "raft_uv": ("unit_raft_raft_uv_test", []),
    "unheard": ("agents_sim", ["--unheard", "--seeds", "50", "--seconds", "40"]),
    "met": ("agents_sim", ["--met", "--seeds", "50", "--seconds", "40"]),
    "echo": ("agents_sim", ["--echo", "--seeds", "20", "--seconds", "40"]),
    "late": ("agents_sim", ["--late", "--seeds", "50", "--seconds", "40"]),
    "unanswered": ("agents_sim", ["--unanswered", "--seeds", "20", "--seconds", "40"]),
    "bound": ("agents_sim", ["--bound", "--seeds", "50", "--seconds", "40"]),
    "hang": ("agents_sim", ["--hang", "--seeds", "50", "--seconds", "40"]),
    "succession": ("agents_sim", ["--succession", "--seeds", "50", "--seconds", "40"]),
    "reclaim": ("agents_sim", ["--reclaim", "--seeds", "400", "--seconds", "40"]),
    "words": ("agents_sim", ["--words", "--seeds", "50", "--seconds", "40"]),
    "kept": ("agents_sim", ["--kept", "--seeds", "50", "--seconds", "40"]),
    "agents_sim": ("agents_sim", ["--seeds", "2000", "--seconds", "40"]),
}


def killer(name):
    """"swim:who_*" is of the tests in swim only those."""
    name, _, tests = name.partition(":")
    program, args = KILLERS[name]
    return program, args + (["--filter", "*/" + tests] if tests else [])


class Mutant:
    def __init__(self, name):
        self.name, self.file, self.kill, self.why, self.same = name, "", [], "", ""
        self.old, self.new = [], []


def read_list():
    mutants, part = [], None
    for line in open(os.path.join(HERE, "mutants.txt")).read().split("\n"):
        m = mutants[-1] if mutants else None
        if line.startswith("== "):
            mutants.append(Mutant(line[3:].strip()))
            part = None
        elif line in ("---", "+++"):
            part = m.old if line == "---" else m.new
        elif part is not None:
            part.append(line)
        elif m and line:
            word, _, rest = line.partition(" ")
            setattr(m, word, rest.split() if word == "kill" else rest.strip())
    for m in mutants:
        m.old = "\n".join(m.old)
        m.new = "\n".join(m.new).rstrip("\n")
    return mutants


def check(mutants):
    """Texts, not programs: what does not apply any more, or nowhere in particular."""
    wrong = []
    names = [m.name for m in mutants]
    for m in mutants:
        path = os.path.join(ROOT, m.file)
        count = open(path).read().count(m.old) if os.path.isfile(path) else 0
        if count != 1:
            wrong.append(f"{m.name}: its text is {count} times in {m.file}, must be once")
        if m.old == m.new or names.count(m.name) != 1 or not m.why:
            wrong.append(f"{m.name}: changes nothing, has no reason, or is there twice")
        if bool(m.kill) == bool(m.same) or [k for k in m.kill if k.split(':')[0] not in KILLERS]:
            wrong.append(f"{m.name}: must name what kills it, or why nothing can")
    for text in wrong:
        print(text)
    print(f"{len(mutants)} mutants, {len(wrong)} wrong")
    return not wrong


def run(args, seconds=None, **kwargs):
    """0: it ended well; else what it ended with, or that it did not."""
    try:
        return subprocess.run(args, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=seconds,
                              start_new_session=True, **kwargs).returncode
    except subprocess.TimeoutExpired:
        return "time-out"


def copy_tree():
    """Only what differs is written, so that little is built again; what is gone goes there, too."""
    files = subprocess.run(["git", "ls-files", "-co", "--exclude-standard"], cwd=ROOT, check=True,
                           capture_output=True, text=True).stdout.split("\n")
    for here, _, names in os.walk(os.path.join(COPY, "src")):
        for name in names:
            if os.path.relpath(os.path.join(here, name), os.path.join(COPY, "src")) not in files:
                os.remove(os.path.join(here, name))
    for name in files:
        source, target = os.path.join(ROOT, name), os.path.join(COPY, "src", name)
        if name and os.path.isfile(source):
            write(target, open(source, "rb").read())
    build = os.path.join(COPY, "build")
    if run(["cmake", "-G", "Ninja", "-S", os.path.join(COPY, "src"), "-B", build, "-DBLOX_WERROR=OFF",
            "-DCMAKE_BUILD_TYPE=RelWithDebInfo", "-DBLOX_TESTS=ON"]) != 0:
        sys.exit("mutate: cmake failed")


def write(path, data):
    os.makedirs(os.path.dirname(path), exist_ok=True)
    if not os.path.isfile(path) or open(path, "rb").read() != data:
        open(path, "wb").write(data)


def build(programs):
    return run(["cmake", "--build", os.path.join(COPY, "build"), "--target"] + programs)


def find(m):
    """Who finds it: a name, or None."""
    for name in m.kill:
        program, args = killer(name)
        if build([program]) != 0:
            return "the compiler"
        if run([os.path.join(COPY, "build", "bin", program)] + args, LIMIT_S,
               cwd=ROOT) not in (0, "time-out"):
            return name
    return None


def try_all(mutants, seconds):
    copy_tree()
    needed = sorted({killer(k)[0] for m in mutants for k in m.kill})
    if build(needed) != 0:
        sys.exit("mutate: the tree itself does not build")
    begun, killed, alive = time.monotonic(), 0, []
    tried = 0
    for m in mutants:
        if seconds and tried and time.monotonic() - begun > seconds:
            break
        if m.same:
            print(f"{m.name}: equivalent: {m.same}")
            continue
        tried += 1
        path = os.path.join(COPY, "src", m.file)
        text = open(path).read()
        write(path, text.replace(m.old, m.new).encode())
        start = time.monotonic()
        by = find(m)
        write(path, text.encode())
        took = time.monotonic() - start
        killed += by is not None
        if by is None:
            alive.append(m.name)
        print(f"{m.name}: {'killed by ' + by if by else 'SURVIVED'} ({took:.0f} s): {m.why}",
              flush=True)
    print(f"{killed} of {tried} killed{'; alive: ' + ', '.join(alive) if alive else ''}")
    return not alive


def draw(mutants, count):
    """The same for all who look at one commit, others at the next."""
    commit = subprocess.run(["git", "rev-parse", "HEAD"], cwd=ROOT, capture_output=True, text=True)
    seed = commit.stdout.strip() or time.strftime("%Y-%m-%d")
    return random.Random(seed).sample([m for m in mutants if m.kill], count)


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    p.add_argument("--check", action="store_true")
    p.add_argument("--few", type=int)
    p.add_argument("--seconds", type=float)
    p.add_argument("--only", nargs="*")
    a = p.parse_args()
    mutants = read_list()
    sound = check(mutants)
    if a.check or not sound:
        sys.exit(0 if sound else 1)
    if a.only:
        mutants = [m for m in mutants if any(m.name.startswith(n) for n in a.only)]
    if a.few:
        mutants = draw(mutants, a.few)
    sys.exit(0 if try_all(mutants, a.seconds) else 1)


if __name__ == "__main__":
    main()
