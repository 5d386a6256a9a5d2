#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Checks answers of /v1 against Blox 0.3's own API descriptions.

    v1_conformance.py API_SERVE      starts the test server and checks it
    v1_conformance.py --url URL      checks a running agent (reads only)

Each answer's status must be one that the description lists, its content type what Blox sent, and
its body must fit the schema. Blox itself sent null for absent lists that are not required, and for
attributes without a value, and so do we: null is let through for these.
"""
import itertools
import json
import pathlib
import re
import subprocess
import sys
import urllib.error
import urllib.parse
import urllib.request

DATA = pathlib.Path(__file__).resolve().parent.parent / "data" / "blox-api" / "v0.3.0"
JSON_TYPE = "application/json; charset=UTF-8"
TEXT_TYPE = "text/plain; charset=utf-8"


class Mismatch(Exception):
    pass


def need(ok, where, what):
    if not ok:
        raise Mismatch(f"{where}: {what}")


class Description:
    """One swagger 2.0 file, as far as Blox's files use the language."""

    def __init__(self, name):
        self.doc = json.loads((DATA / name).read_text())

    def resolve(self, node):
        while "$ref" in node:
            target = self.doc
            for part in node["$ref"].removeprefix("#/").split("/"):
                target = target[part]
            node = target
        return node

    def check(self, value, schema, where):
        name = schema.get("$ref", "").rsplit("/", 1)[-1]
        schema = self.resolve(schema)
        kind = schema.get("type")
        if kind == "object":
            need(isinstance(value, dict), where, "is not an object")
            known = schema.get("properties", {})
            for member in schema.get("required", []):
                need(member in value, where, f"lacks the required member {member}")
            for member, inner in value.items():
                need(member in known, where, f"has the unknown member {member}")
                if inner is None and name == "ContainerInstanceAttribute" and member == "value":
                    continue
                if (inner is None and known[member].get("type") == "array"
                        and member not in schema.get("required", [])):
                    continue
                self.check(inner, known[member], f"{where}.{member}")
        elif kind == "array":
            need(isinstance(value, list), where, "is not an array")
            for i, inner in enumerate(value):
                self.check(inner, schema["items"], f"{where}[{i}]")
        elif kind == "string":
            need(isinstance(value, str), where, "is not a string")
            need("enum" not in schema or value in schema["enum"], where, f"{value!r} is not listed")
            need("pattern" not in schema or re.search(schema["pattern"], value), where, "pattern")
        elif kind == "integer":
            need(isinstance(value, int) and not isinstance(value, bool), where, "is no integer")
        elif kind == "boolean":
            need(isinstance(value, bool), where, "is no boolean")
        else:
            raise Mismatch(f"{where}: schema type {kind} is not understood")

    def operation(self, path, method):
        return self.doc["paths"][path][method]


STATE = Description("cluster-state-service.swagger.json")
SCHEDULER = Description("daemon-scheduler.swagger.json")


def fetch(url, method="GET", body=None):
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(url, data=data, method=method)
    if data is not None:
        request.add_header("Content-Type", "application/json")
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(request, timeout=10) as answer:
            return answer.status, dict(answer.headers), answer.read()
    except urllib.error.HTTPError as error:
        return error.code, dict(error.headers), error.read()


class Run:
    def __init__(self, base):
        self.base = base
        self.count = 0
        self.seen = set()  # (template, method, status)

    def expect(self, description, template, status, path, method="GET", body=None):
        where = f"{method} {path}"
        got, headers, data = fetch(self.base + "/v1" + path, method, body)
        need(got == status, where, f"status {got}, expected {status}: {data[:200]!r}")
        operation = description.operation(template, method.lower())
        described = operation["responses"].get(str(status))
        # Blox's streams do answer 400, without a description of it.
        need(described is not None or (template.startswith("/stream/") and status == 400), where,
             f"status {status} is not described")
        schema = (described or {}).get("schema")
        self.count += 1
        self.seen.add((template, method.lower(), str(status)))
        need(headers.get("X-Content-Type-Options") == "nosniff", where, "no nosniff")
        if status != 200:
            need(headers["Content-Type"] == TEXT_TYPE, where, headers["Content-Type"])
            lines = data.decode().removeprefix("validation failure list:\n")
            need(data.endswith(b"\n") and ("\n" not in lines[:-1] or lines != data.decode()),
                 where, f"not a sentence {data!r}")
            return None
        need(headers["Content-Type"] == (TEXT_TYPE if method == "DELETE" else JSON_TYPE), where,
             headers["Content-Type"])
        if schema is None:
            need(data == b"", where, f"a body was not expected: {data[:80]!r}")
            return None
        need(data.endswith(b"\n") and data.count(b"\n") == 1, where, "is not one line")
        value = json.loads(data, object_pairs_hook=no_duplicates)
        description.check(value, schema, where)
        return value


def no_duplicates(pairs):
    names = [name for name, _ in pairs]
    need(len(names) == len(set(names)), "JSON", f"a member comes twice in {names}")
    return dict(pairs)


def check_reads(run):
    for plural, one in (("tasks", "task"), ("instances", "instance")):
        items = run.expect(STATE, f"/{plural}", 200, f"/{plural}")["items"]
        status = "running" if one == "task" else "ACTIVE"
        run.expect(STATE, f"/{plural}", 200, f"/{plural}?status={status}")
        run.expect(STATE, f"/{plural}", 200, f"/{plural}?cluster=nowhere&status=")
        run.expect(STATE, f"/{plural}", 400, f"/{plural}?status=wrong")
        run.expect(STATE, f"/{plural}", 400, f"/{plural}?cluster=a%20b")
        run.expect(STATE, f"/{plural}", 400, f"/{plural}?other=1")
        run.expect(STATE, f"/{plural}", 400, f"/{plural}?cluster=a&cluster=b")
        for item in items[:50]:
            arn = item["entity"]["taskARN" if one == "task" else "containerInstanceARN"]
            cluster = item["entity"]["clusterARN"].rsplit("/", 1)[-1]
            template = f"/{plural}/{{cluster}}/{{arn}}"
            for form in (arn, urllib.parse.quote(arn, safe="")):
                got = run.expect(STATE, template, 200, f"/{plural}/{cluster}/{form}")
                need(got["entity"] == item["entity"], arn, "differs from its list entry")
            run.expect(STATE, template, 404, f"/{plural}/elsewhere/{arn}")


def read_lines(url, count):
    """The first lines of a stream."""
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with opener.open(url, timeout=10) as answer:
        need(answer.headers["Content-Type"] == "application/octet-stream", url, "content type")
        return [answer.readline() for _ in range(count)]


def check_streams(run):
    for plural in ("tasks", "instances"):
        path = f"/stream/{plural}"
        for version in ("x", "-1", "1.5", "99999999", "9" * 30, "+1", "%2B99999999", "1e3", "0x1"):
            run.expect(STATE, path, 400, f"{path}?entityVersion={version}")
        items = run.expect(STATE, f"/{plural}", 200, f"/{plural}")["items"]
        versions = sorted(int(item["metadata"]["entityVersion"]) for item in items)
        one = STATE.operation(f"/{plural}/{{cluster}}/{{arn}}", "get")
        schema = one["responses"]["200"]["schema"]
        for first, form in itertools.product(
                (versions[0], versions[len(versions) // 2], versions[-1]),
                ("{}&other=1", "00{}", "%2B{}", "{};entityVersion=x", "{}&entityVersion=x")):
            url = f"{run.base}/v1{path}?entityVersion={form.format(first)}"
            want = [v for v in versions if v >= first]
            for line, version in zip(read_lines(url, len(want)), want):
                need(line.endswith(b"\n"), url, "no newline behind an object")
                value = json.loads(line, object_pairs_hook=no_duplicates)
                STATE.check(value, schema, url)
                need(int(value["metadata"]["entityVersion"]) == version, url, "not inclusive")
                run.count += 1
        run.seen.add((path, "get", "200"))


def check_all_codes(run):
    """Each code that Blox describes was met, but for its own failures and those that its router
    leaves no request for."""
    never = {("/environments/{name}", "get", "400"), ("/environments/{name}", "delete", "400"),
             ("/environments/{name}/deployments/{id}", "get", "400"),
             ("/environments/{name}/deployments", "get", "400")}
    for description in (STATE, SCHEDULER):
        for template, methods in description.doc["paths"].items():
            for method, operation in methods.items():
                for status in operation["responses"] if method != "parameters" else ():
                    need(status == "500" or (template, method, status) in never or (template, method, status) in run.seen, template,
                         f"{method} was never answered with {status}")


def check_environments(run):
    run.expect(SCHEDULER, "/ping", 200, "/ping")
    items = run.expect(SCHEDULER, "/environments", 200, "/environments")["items"]
    run.expect(SCHEDULER, "/environments", 200, "/environments?cluster=nowhere")
    run.expect(SCHEDULER, "/environments", 400, "/environments?cluster=a%20b")
    run.expect(SCHEDULER, "/environments", 400, "/environments?other=1")
    run.expect(SCHEDULER, "/environments/{name}", 404, "/environments/absent")
    for item in items[:20]:
        name = item["name"]
        one = run.expect(SCHEDULER, "/environments/{name}", 200, f"/environments/{name}")
        need(one == item, name, "differs from its list entry")
        base = f"/environments/{name}/deployments"
        template = "/environments/{name}/deployments"
        for deployment in run.expect(SCHEDULER, template, 200, base)["items"]:
            got = run.expect(SCHEDULER, template + "/{id}", 200, f"{base}/{deployment['id']}")
            need(got == deployment, deployment["id"], "differs from its list entry")
        run.expect(SCHEDULER, template + "/{id}", 404, f"{base}/absent")
    run.expect(SCHEDULER, "/environments/{name}/deployments", 404,
               "/environments/absent/deployments")


def check_writes(run):
    request = {"name": "agent-1", "instanceGroup": {"cluster": "prod"}, "taskDefinition": "a:1"}
    SCHEDULER.check(request, {"$ref": "#/definitions/CreateEnvironmentRequest"}, "request")
    made = run.expect(SCHEDULER, "/environments", 200, "/environments", "POST", request)
    need(made["name"] == "agent-1" and made["health"] == "healthy", "POST", made)
    for change in ({"name": "taken"}, {"name": "a b"}, {"name": "x" * 31}, {"name": ""}, {"name": 7}):
        run.expect(SCHEDULER, "/environments", 400, "/environments", "POST", {**request, **change})
    for change in ({"instanceGroup": {}}, {"instanceGroup": {"cluster": "a b"}},
                   {"taskDefinition": ""}, {"taskDefinition": 7}):
        run.expect(SCHEDULER, "/environments", 404, "/environments", "POST", {**request, **change})
    run.expect(SCHEDULER, "/environments", 400, "/environments", "POST", {})
    run.expect(SCHEDULER, "/environments/{name}/deployments", 200,
               "/environments/web/deployments?deploymentToken=" + made["deploymentToken"], "POST")
    run.expect(SCHEDULER, "/environments", 404, "/environments", "POST",
               {**request, "instanceGroup": {"cluster": "nowhere"}})
    template = "/environments/{name}/deployments"
    token = "?deploymentToken=" + "00000000-0000-0000-0000-000000000000"
    run.expect(SCHEDULER, template, 400, "/environments/web/deployments" + token, "POST")
    run.expect(SCHEDULER, template, 404, "/environments/absent/deployments" + token, "POST")
    run.expect(SCHEDULER, template, 200, "/environments/web/deployments?nextToken=x")
    run.expect(SCHEDULER, "/environments/{name}", 200, "/environments/absent", "DELETE")


def main():
    if len(sys.argv) == 3 and sys.argv[1] == "--url":
        run = Run(sys.argv[2].rstrip("/"))
        check_reads(run)
        check_environments(run)
    else:
        server = subprocess.Popen([sys.argv[1], "30"], stdin=subprocess.PIPE,
                                  stdout=subprocess.PIPE, text=True)
        try:
            run = Run(f"http://127.0.0.1:{int(server.stdout.readline())}")
            check_reads(run)
            check_environments(run)
            check_streams(run)
            check_writes(run)
            check_all_codes(run)
        finally:
            server.stdin.close()
            need(server.wait(30) == 0, "api_serve", f"exit code {server.returncode}")
    print(f"{run.count} answers fit Blox 0.3's descriptions")


if __name__ == "__main__":
    try:
        main()
    except Mismatch as mismatch:
        sys.exit(f"v1 conformance: {mismatch}")
