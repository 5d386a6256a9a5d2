# SPDX-License-Identifier: Apache-2.0
"""Is a history of operations on one environment linearizable? The search of Wing and Gong (1993) with
Lowe's memory of (operations done, state). Run as a program it tests itself.

An operation is {"start", "end", "f", "arg", "out"}: end is math.inf and out None if nobody knows what
became of it: then it may take effect at any time after its start, or never.

    f       arg               out
    create  value             "ok" | "exists"
    update  (value, revision) "ok" | "mismatch" | "none"
    delete  None              (value, revision), that of what was there | "none"
    read    None              (value, revision) | "none"
"""
import math


def step(state, op):
    """(possible, next state); state is None or (value, revision)."""
    f, arg, out = op["f"], op["arg"], op["out"]
    if f == "read":
        return (state is None) if out == "none" else state == out, state
    if f == "delete":
        result, after = "none" if state is None else state, None
    elif f == "create":
        result, after = ("ok", (arg, 1)) if state is None else ("exists", state)
    elif state is None:
        result, after = "none", None
    elif state[1] != arg[1]:
        result, after = "mismatch", state
    else:
        result, after = "ok", (arg[0], state[1] + 1)
    return out is None or out == result, after


def linearizable(ops):
    ops = [o for o in ops if not (o["f"] == "read" and o["out"] is None)]
    ops.sort(key=lambda o: o["start"])
    must = sum(1 << i for i, o in enumerate(ops) if o["out"] is not None)
    seen, stack = set(), [(0, None)]
    while stack:
        done, state = stack.pop()
        if done & must == must:
            return True
        first_end = min(o["end"] for i, o in enumerate(ops) if not done >> i & 1)
        for i, o in enumerate(ops):
            if o["start"] > first_end:
                break
            if done >> i & 1:
                continue
            possible, after = step(state, o)
            key = (done | 1 << i, after)
            if possible and key not in seen:
                seen.add(key)
                stack.append(key)
    return False


def history(*rows):
    return [{"start": s, "end": math.inf if e is None else e, "f": f, "arg": a, "out": o}
            for s, e, f, a, o in rows]


def self_test():
    good = {
        "in order": history((0, 1, "create", "a", "ok"), (2, 3, "read", None, ("a", 1)),
                            (4, 5, "update", ("b", 1), "ok"), (6, 7, "read", None, ("b", 2)),
                            (8, 9, "delete", None, ("b", 2)), (10, 11, "read", None, "none")),
        "an overlapping read may see either": history(
            (0, 1, "create", "a", "ok"), (2, 9, "update", ("b", 1), "ok"),
            (3, 4, "read", None, ("a", 1)), (5, 6, "read", None, ("b", 2))),
        "an unknown write takes effect late": history(
            (0, None, "create", "a", None), (1, 2, "read", None, "none"),
            (3, 4, "read", None, ("a", 1))),
        "an unknown write never takes effect": history(
            (0, None, "create", "a", None), (1, 2, "read", None, "none"),
            (3, 4, "create", "b", "ok")),
        "one of two deletions finds it": history(
            (0, 1, "create", "a", "ok"), (2, 5, "delete", None, "none"),
            (3, 6, "delete", None, ("a", 1)), (7, 8, "read", None, "none")),
        "one of two updates wins": history(
            (0, 1, "create", "a", "ok"), (2, 5, "update", ("b", 1), "ok"),
            (2, 5, "update", ("c", 1), "mismatch"), (6, 7, "read", None, ("b", 2))),
    }
    bad = {
        "a stale read": history((0, 1, "create", "a", "ok"), (2, 3, "update", ("b", 1), "ok"),
                                (4, 5, "read", None, ("a", 1))),
        "a lost write": history((0, 1, "create", "a", "ok"), (2, 3, "read", None, "none")),
        "lost, and a deletion finds nothing": history(
            (0, 1, "create", "a", "ok"), (2, 3, "delete", None, "none")),
        "both deletions find it": history((0, 1, "create", "a", "ok"),
            (2, 5, "delete", None, ("a", 1)), (3, 6, "delete", None, ("a", 1))),
        "an update lost before the deletion": history(
            (0, 1, "create", "a", "ok"), (2, 3, "update", ("b", 1), "ok"),
            (4, 5, "delete", None, ("a", 1))),
        "done twice": history((0, 1, "create", "a", "ok"), (2, 9, "update", ("b", 1), "mismatch"),
                              (10, 11, "read", None, ("b", 2))),
        "both updates win": history(
            (0, 1, "create", "a", "ok"), (2, 5, "update", ("b", 1), "ok"),
            (2, 5, "update", ("c", 1), "ok")),
        "seen and then gone": history(
            (0, None, "create", "a", None), (1, 2, "read", None, ("a", 1)),
            (3, 4, "read", None, "none")),
        "both creations win": history((0, 5, "create", "a", "ok"), (0, 5, "create", "b", "ok")),
        "read before it was written": history(
            (0, 1, "read", None, ("a", 1)), (2, 3, "create", "a", "ok")),
    }
    for name, ops in good.items():
        assert linearizable(ops), f"refused: {name}"
    for name, ops in bad.items():
        assert not linearizable(ops), f"accepted: {name}"
    return len(good) + len(bad)


if __name__ == "__main__":
    print(f"{self_test()} passed, 0 failed")
