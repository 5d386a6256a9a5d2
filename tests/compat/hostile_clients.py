#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Clients that do what they should not: the server goes on answering others, ends cleanly and, in
a build with sanitizers, touches no memory that is not its own. Usage: hostile_clients.py API_SERVE"""
import contextlib
import http.client
import json
import os
import random
import re
import socket
import subprocess
import sys
import time

TASKS = 3000


class Server:
    def __init__(self, binary):
        self.process = subprocess.Popen([binary, str(TASKS), "200"], stdin=subprocess.PIPE,
                                        stdout=subprocess.PIPE, text=True)
        self.port = int(self.process.stdout.readline())

    def connect(self, timeout=20):
        return socket.create_connection(("127.0.0.1", self.port), timeout=timeout)

    def send(self, data):
        s = self.connect()
        s.sendall(data)
        return s

    def get(self, path):
        c = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        c.request("GET", path)
        r = c.getresponse()
        body = r.read()
        c.close()
        return r.status, body


def head(path, more=""):
    return f"GET {path} HTTP/1.1\r\nHost: localhost\r\n{more}\r\n".encode()


def read_all(s):
    text = b""
    try:
        while True:
            got = s.recv(65536)
            if not got:
                return text
            text += got
    except (ConnectionResetError, TimeoutError):
        return text


def check(condition, text):
    if not condition:
        raise SystemExit(f"failed: {text}")


def asked(server, path):
    """Soon: it may be busy yet with letting go of those that left."""
    end = time.monotonic() + 60
    while True:
        with contextlib.suppress(OSError, http.client.HTTPException):
            status, body = server.get(path)
            if status == 200:
                return body
        check(server.process.poll() is None and time.monotonic() < end, f"answers {path}")
        time.sleep(0.1)


def still_answers(server, after):
    body = asked(server, "/v2/tasks?limit=3")
    check(len(json.loads(body)["items"]) == 3, f"answers after {after}")
    check(server.process.poll() is None, f"lives after {after}")


def sent(s, data):
    """Whether the server had not closed it before."""
    try:
        s.sendall(data)
    except ConnectionError:
        return False
    return True


def large_heads(server):
    """10 MB in one header, a thousand headers, a target of 1 MB: a 4xx or a closed connection."""
    for data in (b"GET / HTTP/1.1\r\nHost: localhost\r\nX: " + b"a" * 10_000_000 + b"\r\n\r\n",
                 b"GET / HTTP/1.1\r\nHost: localhost\r\n" +
                 b"".join(b"X-%d: %s\r\n" % (i, b"y" * 100) for i in range(1000)) + b"\r\n",
                 b"GET /" + b"a" * 1_000_000 + b" HTTP/1.1\r\nHost: localhost\r\n\r\n",
                 head("/v2/tasks?x=" + "a" * 5000)):
        s = server.connect()
        try:
            s.sendall(data)
        except (BrokenPipeError, ConnectionResetError):
            pass
        s.settimeout(5)
        text = read_all_some(s)
        check(text == b"" or text.startswith((b"HTTP/1.1 4", b"HTTP/1.0 4")), f"4xx: {text[:60]}")
        s.close()


def many_parameters(server):
    """More than fit into what a connection may use: answered, and not forgotten."""
    for path, count in (("/v1/tasks", 900), ("/v1/tasks", 2000), ("/v2/tasks", 900), ("/v2/tasks", 2000),
                        ("/v1/stream/tasks", 20_000), ("/", 30_000)):
        s = server.send(head(f"{path}?{'a&' * count}"))
        s.settimeout(30)
        text = read_all_some(s)
        check(text.startswith(b"HTTP/1.1 4"), f"4xx for {count} parameters: {text[:60]}")
        s.close()


def read_all_some(s):
    try:
        return s.recv(65536)
    except (ConnectionResetError, TimeoutError):
        return b""


def odd_bytes(server):
    for target in (b"/v2/tasks/\xff\xfe\xc3(", b"/v2/tasks?family=\xc0\x80", b"/v2/tasks/%ff%fe",
                   b"/v2/tasks?next_token=%ff", b"/v2/tasks?filter=%ff%ff", b"/v2/tasks?sort=%ff",
                   b"/v2/tasks?fields=%22", b"/v2/watch?kinds=%ff", b"//", b"/v2//tasks", b"*"):
        s = server.send(b"GET " + target + b" HTTP/1.1\r\nHost: localhost\r\n"
                        b"Connection: close\r\n\r\n")
        text = read_all(s)
        body = text.partition(b"\r\n\r\n")[2]
        check(text == b"" or b" 4" in text[:14] or b" 200 " in text[:14], f"{target}: {text[:60]}")
        body.decode("utf-8")  # what is echoed is still UTF-8
        s.close()
    for garbage in (b"\x16\x03\x01\x02\x00", b"\r\n\r\n\r\n", b"GET\r\n\r\n", os.urandom(4000),
                    b"POST /v2/environments HTTP/1.1\r\nHost: localhost\r\n"
                    b"Transfer-Encoding: chunked\r\n\r\nffffffffffffffff\r\nx"):
        s = server.send(garbage)
        s.shutdown(socket.SHUT_WR)
        read_all_some(s)
        s.close()


SEEDS = [head("/v2/tasks?limit=3&sort=-index&status=RUNNING"), head("/v1/tasks?cluster=prod"),
         head("/v2/watch?kinds=task", "Accept: text/event-stream\r\n"), head("/v2/tasks?filter=a==b"),
         head("/v1/stream/tasks?entityVersion=1", "Authorization: Bearer read-token\r\n"),
         head("/v2/tasks?at=2026-01-01T00:00:00Z", "Accept-Encoding: gzip;q=0\r\n"),
         b"POST /v2/environments HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
         b"Idempotency-Key: k\r\nContent-Length: 14\r\n\r\n{\"name\":\"webs\"}",
         b"PUT /v2/environments/web HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n"
         b"If-Match: *\r\nExpect: 100-continue\r\n\r\n2\r\n{}\r\n0\r\n\r\n"]
PARTS = [b"\r\n", b"\r\n\r\n", b"\0", b"%", b"%00", b"%2e%2e", b"?", b"&=", b" ", b":", b"/../", b"//",
         b"\xff", b"Host: evil\r\n", b"Content-Length: -1\r\n", b"Transfer-Encoding: chunked\r\n"]


def mutated(rng):
    data = bytearray(rng.choice(SEEDS))
    for _ in range(rng.randrange(1, 6)):
        at, end = rng.randrange(len(data)), rng.randrange(len(data))
        how = rng.randrange(4)
        if how == 0:
            data[at] ^= 1 << rng.randrange(8)
        elif how == 1:
            data[at:at] = rng.choice(PARTS)
        elif how == 2:
            data[at:at] = data[end:end + 100]
        else:
            del data[at:min(at + 20, len(data) - 1)]
    return bytes(data)


def mutated_requests(server):
    """What is answered is HTTP, and never that something went wrong here."""
    rng = random.Random(5)
    for _ in range(2000):
        s = server.connect()
        try:
            s.sendall(b"".join(mutated(rng) for _ in range(rng.randrange(1, 4))))
            s.settimeout(0.002)
            text = s.recv(65536)
        except OSError:
            text = b""
        check(not text or (text.startswith(b"HTTP/1.1 ") and b" 500 " not in text[:14]), text[:400])
        s.close()


def pipelined(server):
    s = server.send(head("/v2/tasks?limit=1") * 50 + head("/v2/tasks/none", "Connection: close\r\n"))
    text = read_all(s)
    check(text.count(b"HTTP/1.1 200") == 50, f"{text.count(b'HTTP/1.1 200')} of 50")
    check(text.count(b"HTTP/1.1 404") == 1, "and the last one")


def heads_of_streams(server):
    """What follows the head of an answer to HEAD is the next answer, or the end."""
    for path, more in (("/v2/tasks?limit=1000", ""), ("/v2/tasks?limit=1", ""), ("/v2/watch", ""),
                       ("/v2/tasks?limit=1000", "Accept-Encoding: gzip\r\n")):
        s = server.send(head(path, more).replace(b"GET", b"HEAD", 1))
        try:
            text = s.recv(65536)
            s.settimeout(1)
            while got := s.recv(65536):
                text += got
        except TimeoutError:
            pass
        check(b" 200 " in text[:14] and text.endswith(b"\r\n\r\n") and text.count(b"\r\n\r\n") == 1,
              f"HEAD {path}: {text}")
        s.close()


def gone_in_mid_answer(server):
    """Lists, streams and polls whose clients read a little and go, politely or not."""
    for i in range(150):
        path = ("/v1/tasks", "/v2/watch", "/v2/tasks?limit=1000", "/v1/stream/tasks",
                "/v2/tasks?sort=-index&limit=1000", "/v2/tasks?wait=5s&index=%s" % index_of(server)
                )[i % 6]
        s = server.send(head(path, "Accept-Encoding: gzip\r\n" if i % 4 == 0 else ""))
        if i % 3:
            s.settimeout(0.2)
            read_all_some(s)
        if i % 2:  # RST instead of FIN
            s.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        s.close()


def index_of(server):
    return json.loads(asked(server, "/v2/tasks?limit=1"))["index"]


def slow_readers(server):
    """They take nothing for a while, then all: each list is whole, a watch goes on or says reset."""
    held = []
    for i in range(20):
        s = socket.socket()
        s.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        s.connect(("127.0.0.1", server.port))
        s.sendall(head("/v1/tasks" if i % 2 else "/v2/watch?kinds=task", "Connection: close\r\n"))
        held.append(s)
    time.sleep(6)  # longer than a snapshot is kept for a list
    still_answers(server, "slow readers began")
    text = read_all(held[1])
    check(text.endswith(b"0\r\n\r\n"), "a slow reader's list ends as it should")
    for s in held:
        s.close()


def streams_under_attack(server):
    """A hundred watches that are read a byte at a time or not at all, then thousands that come and go as
    they like, while rows change: a good watch misses nothing, and what was held is given back."""
    rng, slow, held = random.Random(11), [], []
    good = server.send(head("/v2/watch?kinds=task&index=" + index_of(server)))
    for i in range(100):
        s = socket.socket()
        s.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2048)
        s.connect(("127.0.0.1", server.port))
        s.sendall(head(("/v2/watch", "/v1/stream/tasks?entityVersion=1")[i % 2]))
        slow.append(s)
    for n in range(10_000):
        s = server.send(head(rng.choice(("/v2/watch?kinds=task", "/v1/stream/tasks", "/v2/watch"))))
        if n % 5 == 0:
            sent(s, rng.randbytes(rng.randrange(1, 100)))
        held.append(s)
        while len(held) > 300 or (held and rng.random() < 0.4):
            leave(rng, held.pop(rng.randrange(len(held))))
        if n % 50 == 0:
            for s in slow:
                s.recv(1)
    for s in held + slow:
        leave(rng, s)
    text, end = b"", time.monotonic() + 60
    last = int(index_of(server).partition(".")[2])
    while ('.%d"' % last).encode() not in text and time.monotonic() < end:
        text += good.recv(1 << 20)
    seen = [int(n) for n in re.findall(rb'"kind":"task","index":"[0-9a-f]+\.(\d+)"', unchunked(text))]
    check(seen and seen == list(range(seen[0], seen[0] + len(seen))) and seen[-1] >= last,
          f"a good watch has every change: {len(seen)} up to {seen[-1:]}, {last}")
    good.close()
    open_now = 1
    while open_now and time.monotonic() < end + 60:
        time.sleep(0.1)
        open_now = int(re.search(rb"\nblox_api_streams (\d+)", asked(server, "/metrics"))[1])
    check(open_now == 0, f"{open_now} streams are left")


def leave(rng, s):
    """Politely, by a reset, or by half."""
    how = rng.randrange(3)
    if how == 0:
        s.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
    elif how == 1:
        try:
            s.shutdown(socket.SHUT_WR)
        except OSError:
            pass
    s.close()


def unchunked(text):
    """The body of the whole chunks."""
    body, rest = b"", text.partition(b"\r\n\r\n")[2]
    while rest:
        size, _, rest = rest.partition(b"\r\n")
        body, rest = body + rest[:int(size, 16)], rest[int(size, 16) + 2:]
    return body


def many_connections(server):
    held = []
    for _ in range(2000):
        try:
            held.append(server.connect(2))
        except OSError:
            break
    for s in held[:50]:
        sent(s, b"GET /v2/ta")  # and never the rest
    for s in held:
        s.close()


def crowd_of_idlers(server):
    """1,300 connections that ask for nothing, or send a byte of their head now and then: others are
    answered at once, and probes too."""
    held = [server.connect() for _ in range(1300)]
    took = []
    for n in range(20):
        for s in held[n % 2::7]:
            sent(s, b"GET /v2/tasks HTTP/1.1\r\nX: "[n:n + 1])
        begun = time.monotonic()
        status, _ = server.get(("/v2/tasks?limit=1", "/health/live")[n % 2])
        took.append(time.monotonic() - begun)
        check(status == 200, f"{status} behind idle connections")
    check(sorted(took)[10] < 1, f"answers behind idle connections took {took}")
    for s in held:
        s.close()


def main():
    server = Server(sys.argv[1])
    for attack in (large_heads, many_parameters, odd_bytes, mutated_requests, pipelined, heads_of_streams, gone_in_mid_answer, slow_readers,
                   streams_under_attack, many_connections, crowd_of_idlers):
        attack(server)
        still_answers(server, attack.__name__)
        print(attack.__name__, "survived", flush=True)
    server.process.stdin.close()
    check(server.process.wait(60) == 0, "the server ends cleanly")


main()
