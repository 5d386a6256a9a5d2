#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""blox dev: one agent alone is ready; several run side by side, whatever ports they find taken; a
port that was asked for and is taken is told before anything starts."""
import contextlib
import os
import re
import socket
import subprocess
import tempfile
import time

from harness import (BIN, Failure, Process, check, free_port, free_ports_in_a_row, request, run,
                     wait_for)

BLOX = os.path.join(BIN, "blox")


class Dev(Process):
    def __init__(self, place, name, *args):
        self.dir = os.path.join(place, name)
        super().__init__([BLOX, "dev", "--instances", "2", "--dir", self.dir, *args],
                         os.path.join(place, f"{name}.log"))

    def said(self):
        with open(self.log, encoding="utf-8") as f:
            return f.read()

    def ports(self):
        try:  # on a busy machine some are late, which is said first
            wait_for("all to be ready", 60, lambda: "All agents are ready" in self.said())
        except Failure as e:
            raise Failure(f"{e}: {self.said()}") from e
        return [int(p) for p in re.findall(r"^agent \d+ +http://127.0.0.1:(\d+)/", self.said(), re.M)]


def taken_port_is_told(place):
    """Also the last one, the others being free."""
    first = free_ports_in_a_row(3)
    port = first + 2
    with socket.socket() as s:
        s.bind(("127.0.0.1", port))
        s.listen()
        r = subprocess.run([BLOX, "dev", "--agents", "3", "--dir", os.path.join(place, "none"),
                            "--api-port", str(first)], capture_output=True, text=True, timeout=60)
    check(r.returncode == 1 and f"port {port} " in r.stderr and "--api-port" in r.stderr,
          (r.returncode, r.stderr))
    check(not os.path.exists(os.path.join(place, "none")), "something was started")


def side_by_side(place):
    """The second finds somebody where its gossip would be, the third and the fourth whatever the usual
    ports are used for."""
    first, second = free_port(), free_ports_in_a_row(2)
    devs = [Dev(place, "a", "--agents", "1", "--api-port", str(first))]
    other = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    try:
        check(devs[0].ports() == [first], devs[0].said())
        with contextlib.suppress(OSError):  # somebody else is there already
            other.bind(("127.0.0.1", second + 1000))
        devs.append(Dev(place, "b", "--agents", "2", "--api-port", str(second)))
        devs.append(Dev(place, "c", "--agents", "1"))
        devs.append(Dev(place, "d", "--agents", "1", "--api-port", "0"))
        ports = [p for d in devs for p in d.ports()]
        check(len(ports) == len(set(ports)) == 5, ports)
        for p in ports:
            status, _, body = request(p, "GET", "/v2/instances")
            check(status == 200 and len(body["items"]) == 2, (p, body))
        check(len(request(ports[1], "GET", "/v2/members")[2]["items"]) == 2, "who is a member")
    finally:
        other.close()
        for d in devs:
            d.stop()


def test():
    with tempfile.TemporaryDirectory(prefix="blox-cluster-dev-") as place:
        taken_port_is_told(place)
        begun = time.monotonic()
        side_by_side(place)
        print(f"four clusters began and ended in {time.monotonic() - begun:.1f} s")


run(test)
