#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""What the command says of what an agent does not know yet, or never will: no figure where there is
none."""
import json
import os
import subprocess
import tempfile
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer

from harness import BIN, check, run

ANSWERS = {
    "/v2/agent/propagate": {"count": 1, "bytes": 200, "all": False, "missing": ["a", "b"],
                            "members": [{"id": "a", "ms": None}, {"id": "b", "ms": None}]},
    "/v2/members/a/why": {"member": "a", "state": "failed", "state_age_ms": 1000, "incarnation": 7,
                          "address": "10.0.0.1:7381", "because": "x"},
    "/v2/agent": {"id": "b", "cluster": "c", "state": "syncing", "store": {}},
    "/v2/keys": {"id": "0123456789abcdef", "acknowledged": 1, "members": 1, "missing": []},
    "/v2/leader": {}, "/v2/members": {"items": []},
}


class Agent(BaseHTTPRequestHandler):
    def answer(self):
        self.rfile.read(int(self.headers.get("Content-Length") or 0))
        data = json.dumps(ANSWERS[self.path.split("?")[0]]).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    do_GET = do_POST = answer

    def log_message(self, *_):
        pass


def says(server, code, words, never, *args):
    done = subprocess.run(
        [os.path.join(BIN, "blox"), *args, "--address", f"http://127.0.0.1:{server.server_address[1]}"],
        capture_output=True, text=True, timeout=60, check=False)
    check(done.returncode == code, f"{args}: {done}")
    check(words in done.stdout and never not in done.stdout, f"{args}: {done.stdout}")


def key_files(server):
    """What is no file of one key is said before any agent is asked."""
    one = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8="
    with tempfile.TemporaryDirectory() as directory:
        path = os.path.join(directory, "key")
        for text, words in ((f"# a\n{one}\n  {one} # b\n", "has 2 keys; install one at a time"),
                            ("# none\n\n", "holds no key"), ("0" * 64 + "\n", "all zeros"),
                            ("A" * 43 + "=\n", "all zeros")):
            with open(path, "w", encoding="utf-8") as f:
                f.write(text)
            refuses(server, path, words)
        refuses(server, "/dev/zero", "holds no key")
        refuses(server, directory, "cannot read")
        with open(path, "w", encoding="utf-8") as f:
            f.write(f"# mine\n {one} # first\n")
        says(server, 0, "1 of 1", "no answer", "keys", "install", path)


def refuses(server, path, words):
    done = subprocess.run(
        [os.path.join(BIN, "blox"), "keys", "install", path, "--address",
         f"http://127.0.0.1:{server.server_address[1]}"],
        capture_output=True, text=True, timeout=20, check=False)
    check(done.returncode == 2 and words in done.stderr, f"{path}: {done}")


def test():
    server = HTTPServer(("127.0.0.1", 0), Agent)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    says(server, 5, "0 of 2 members have all\nmissing: a", "p50", "propagate")
    says(server, 0, "last heard   never, incarnation 7", "- ago", "members", "why", "a")
    says(server, 0, "complete     not yet\n", "- ago", "status")
    key_files(server)
    server.shutdown()


run(test)
