#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""A thousand watches at one agent, over TCP and its unix socket, which was started with the 1,024
descriptors that a process usually gets: all have the snapshot, then a change, then the agent's
stop, which ends them whole."""
import os
import resource
import socket

from harness import Cluster, check, run

WATCHES = 1000


def allow_files(soft):
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, resource.getrlimit(resource.RLIMIT_NOFILE)[1]))


def watch(agent, by_tcp):
    if by_tcp:
        s = socket.create_connection(("127.0.0.1", agent.api))
    else:
        s = socket.socket(socket.AF_UNIX)
        s.connect(os.path.join(agent.dir, "sock"))
    s.settimeout(60)
    s.sendall(b"GET /v2/watch?kinds=environment HTTP/1.1\r\nHost: localhost\r\n\r\n")
    return s


def read_until(s, end):
    text = b""
    while end not in text:
        got = s.recv(65536)
        check(got, f"a watch ended before {end}: {text[-200:]}")
        text += got
    return text


def test():
    allow_files(1024)
    with Cluster(agents=1, instances=1) as c:
        c.start().wait_ready(60)
        agent = c.agents[0]
        allow_files(4096)
        watches = [watch(agent, n % 2) for n in range(WATCHES)]
        for s in watches:
            read_until(s, b'"synced"')
        agent.write("POST", "/v2/environments",
                    {"name": "logs", "cluster": c.name, "taskDefinition": "daemon:1"})
        for s in watches:
            read_until(s, b'"name":"logs"')
        agent.stop()
        for s in watches:
            read_until(s, b"0\r\n\r\n")
            check(s.recv(1) == b"", "something follows the end")
        c.agents.clear()


if __name__ == "__main__":
    run(test)
