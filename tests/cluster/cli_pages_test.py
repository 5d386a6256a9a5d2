#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""A listing of several pages whose moment the agent no longer keeps: the command begins again with
the first page, shows each row once, and gives up when that happens for ever."""
import json
import os
import subprocess
import threading
import urllib.parse
from http.server import BaseHTTPRequestHandler, HTTPServer

from harness import BIN, check, run

PROBLEM = {"type": "/v2/problems/page-expired", "status": 410, "title": "gone", "detail": "gone"}


class Agent(BaseHTTPRequestHandler):
    expire = 0  # second pages that are refused
    asked = []

    def do_GET(self):
        url = urllib.parse.urlparse(self.path)
        token = urllib.parse.parse_qs(url.query).get("next_token", [""])[0]
        Agent.asked.append(token)
        life = Agent.asked.count("")
        status, body = 200, {"items": [{"taskArn": f"t{life}-1"}], "next_token": f"n{life}+/="}
        if token and Agent.expire > 0:
            Agent.expire -= 1
            status, body = 410, PROBLEM
        elif token:
            check(token == f"n{life}+/=", f"the token of another listing: {token}")
            body = {"items": [{"taskArn": f"t{life}-2"}]}
        data = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *_):
        pass


def blox(server, expire):
    Agent.expire, Agent.asked = expire, []
    return subprocess.run(
        [os.path.join(BIN, "blox"), "get", "tasks", "-o", "json", "--address",
         f"http://127.0.0.1:{server.server_address[1]}"],
        capture_output=True, text=True, timeout=60, check=False)


def test():
    server = HTTPServer(("127.0.0.1", 0), Agent)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    for expire in (0, 1, 3):
        done = blox(server, expire)
        check(done.returncode == 0, f"{expire} times expired: {done}")
        got = [t["taskArn"] for t in json.loads(done.stdout)["items"]]
        check(got == [f"t{expire + 1}-1", f"t{expire + 1}-2"], f"{expire} times expired: {got}")
    done = blox(server, 1000)
    check(done.returncode != 0 and "gone" in done.stdout + done.stderr, f"for ever: {done}")
    check(len(Agent.asked) < 30, f"asked {len(Agent.asked)} times")
    server.shutdown()


run(test)
