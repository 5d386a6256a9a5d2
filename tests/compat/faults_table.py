#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The table of Blox 0.3's faults in docs/compatibility.md has all 21, and every test it names exists."""
import pathlib
import re
import sys

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
ROW = re.compile(r"^\| *(\d+) \|(.+)\|(.+)\|$")
TEST = re.compile(r"`(tests/[\w/]+\.c)` (\w+)")


def main():
    seen = []
    wrong = []
    for line in (ROOT / "docs" / "compatibility.md").read_text().splitlines():
        row = ROW.match(line)
        if row is None:
            continue
        seen.append(int(row[1]))
        named = TEST.findall(row[3])
        if not named:
            wrong.append(f"fault {row[1]} names no test")
        for path, name in named:
            if not re.search(rf"^Test\(\w+, {name}\b", (ROOT / path).read_text(), re.M):
                wrong.append(f"fault {row[1]}: {path} has no test {name}")
    if seen != list(range(1, 22)):
        wrong.append(f"the table has faults {seen}")
    sys.exit("\n".join(wrong) or None)


if __name__ == "__main__":
    main()
