#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The demo of the README runs to its end and leaves nothing behind."""
import os
import re
import subprocess

from harness import BIN, check, free_port, run


def test():
    env = dict(os.environ, BLOX_BIN=BIN, BLOX_DEMO_END="1", BLOX_DEMO_PORT=str(free_port()))
    script = os.path.join(os.path.dirname(os.path.abspath(__file__)), "demo.sh")
    r = subprocess.run([script], capture_output=True, text=True, env=env, timeout=240)
    print(r.stdout)
    check(r.returncode == 0, f"exit code {r.returncode}\n{r.stderr}")
    check("Dashboard: http://127.0.0.1:" in r.stdout, "no dashboard address")
    place = re.search(r"log (/tmp/blox-demo-\w+)/", r.stdout).group(1)
    left = subprocess.run(["pgrep", "-f", f"{place}/"], capture_output=True, text=True).stdout
    check(not left.strip(), f"agents left running: {left}")
    check(not os.path.exists(place), f"{place} is left")


run(test)
