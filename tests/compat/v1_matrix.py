#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""/v1 against a model of Blox 0.3, request by request.

    v1_matrix.py API_SERVE      starts the test server and asks it

The model is written from Blox's documented behaviour, not from our code: its router's patterns (with
long ARNs, all partitions and one-letter names besides, as docs/compatibility.md says), the order of
its checks, its filters, its sentences. Whatever is asked, status, body, content type and redirect
must be what the model says.
"""
import http.client
import itertools
import json
import posixpath
import re
import subprocess
import sys
from urllib.parse import parse_qsl, quote, unquote

TEXT = "text/plain; charset=utf-8"
JSON = "application/json; charset=UTF-8"
HTML = "text/html; charset=utf-8"
CLUSTER = r"[A-Za-z0-9_-]{1,255}"
PARTITION = r"arn:[\w-]+:ecs:[\w-]+:\d{12}:"
CLUSTER_ARN = re.compile(rf"{PARTITION}cluster/({CLUSTER})", re.A)
NAME = r"[a-zA-Z0-9_-]{1,30}"
UUID = r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}"
BROKEN = re.compile(r"%(?![0-9A-Fa-f]{2})")
NO_PAGE = (404, "404 page not found")
NO_ENVIRONMENT = "Environment %s does not exist"
NOT_SUPPORTED = "At least one of the filters provided is not supported"

TASK = "arn:aws:ecs:us-east-1:111122223333:task/prod/" + "0" * 31 + "1"
LONG = "x" * 300


class Server:
    def __init__(self, port):
        self.link = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
        self.asked = 0

    def ask(self, method, target, body=None, headers=None):
        sent = {"Content-Type": "application/json"} if body is not None else {}
        sent.update(headers or {})
        self.link.request(method, target, body, {k: v for k, v in sent.items() if v is not None})
        answer = self.link.getresponse()
        data = answer.read().decode()
        self.asked += 1
        return answer.status, data, answer

    def items(self, target):
        status, data, _ = self.ask("GET", target)
        assert status == 200, (target, status, data)
        return json.loads(data)["items"]


class Blox:
    """What Blox would answer: (status, sentence) or (200, value) or (301, location)."""

    def __init__(self, server):
        self.rows = {"tasks": server.items("/v1/tasks"), "instances": server.items("/v1/instances")}
        self.environments = {e["name"]: e for e in server.items("/v1/environments")}
        self.deployments = {name: server.items(f"/v1/environments/{name}/deployments")
                            for name in self.environments}

    def answer(self, method, target, body=None):
        path, _, query = target.partition("?")
        if BROKEN.search(path):
            return 400, "400 Bad Request"  # Go's server, before any router
        path = unquote(path).replace("\0", "\1")  # our sentences hold no NUL
        query = "&".join(pair for pair in re.split("[&;]", query) if not BROKEN.search(pair))
        params = parse_qsl(query, keep_blank_values=True)
        clean = posixpath.normpath(path) if path.strip("/") else "/"
        clean = "/" + clean.lstrip("/") + ("/" if path.endswith("/") and clean != "/" else "")
        if clean != path:
            return 301, clean
        bare = path.rstrip("/")
        found = self.route(method, bare, params, body)
        if path.endswith("/") and found != NO_PAGE:
            return 301, bare
        return found

    def route(self, method, path, params, body):
        for pattern, methods in (
                (r"/v1/(tasks|instances)", {"GET": self.list}),
                (rf"/v1/(tasks)/({CLUSTER})/({PARTITION}task/(?:[\w-]+/)?[\w-]+)",
                 {"GET": self.get}),
                (rf"/v1/(instances)/({CLUSTER})/"
                 rf"({PARTITION}container-instance/(?:[\w-]+/)?[\w-]+)", {"GET": self.get}),
                (r"/v1/ping", {"GET": lambda params, body: (200, None)}),
                (r"/v1/environments", {"GET": self.list_environments, "POST": self.create}),
                (r"/v1/environments/([^/]+)",
                 {"GET": self.get_environment,
                  "DELETE": lambda params, body, name: (200, None)}),
                (r"/v1/environments/([^/]+)/deployments",
                 {"GET": self.list_deployments, "POST": self.deploy}),
                (r"/v1/environments/([^/]+)/deployments/([^/]+)", {"GET": self.get_deployment})):
            match = re.fullmatch(pattern, path, re.A)
            if match and method in methods:
                return methods[method](params, body, *match.groups())
        return NO_PAGE

    @staticmethod
    def refuse_filters(params, known,
                       unknown="At least one of the filters provided is unsupported"):
        names = [name for name, _ in params]
        if set(names) - set(known):
            return 400, unknown
        if len(names) != len(set(names)):
            return 400, "At least one of the filters provided is specified multiple times"
        return None

    @staticmethod
    def cluster_name(text):
        """Of a name or ARN, None if it is neither."""
        if re.fullmatch(CLUSTER, text):
            return text
        match = CLUSTER_ARN.fullmatch(text)
        return match and match[1]

    def list(self, params, body, kind):
        known = ["status", "cluster"] + (["startedBy"] if kind == "tasks" else [])
        refused = self.refuse_filters(params, known)
        if refused:
            return refused
        asked = {name: value for name, value in params if value}
        states = ["pending", "running", "stopped"] if kind == "tasks" else ["active", "inactive"]
        rows = self.rows[kind]
        if "status" in asked:
            if asked["status"].lower() not in states:
                return 400, "Invalid status"
            member = "lastStatus" if kind == "tasks" else "status"
            rows = [r for r in rows if r["entity"][member] == asked["status"].upper()]
        if "cluster" in asked:
            name = self.cluster_name(asked["cluster"])
            if name is None:
                return 400, "Invalid cluster ARN or name"
            rows = [r for r in rows if r["entity"]["clusterARN"].endswith(":cluster/" + name)]
        if "startedBy" in asked:
            rows = [r for r in rows if r["entity"].get("startedBy") == asked["startedBy"]]
        return 200, {"items": rows}

    def get(self, params, body, kind, cluster, arn):
        member, word = ("taskARN", "Task") if kind == "tasks" else ("containerInstanceARN",
                                                                     "Instance")
        for row in self.rows[kind]:
            entity = row["entity"]
            if entity[member] == arn and entity["clusterARN"].endswith(":cluster/" + cluster):
                return 200, row
        return 404, word + " not found"

    def list_environments(self, params, body):
        if dict(reversed(params)).get("nextToken"):
            return 400, NOT_SUPPORTED
        refused = self.refuse_filters(params, ["cluster", "nextToken"], NOT_SUPPORTED)
        if refused:
            return refused
        asked = {name: value for name, value in params if value}
        rows = list(self.environments.values())
        if "cluster" in asked:
            name = self.cluster_name(asked["cluster"])
            if name is None:
                return 400, "Invalid cluster ARN or name"
            rows = [r for r in rows if r["instanceGroup"]["cluster"] == asked["cluster"]
                    or r["instanceGroup"]["cluster"].endswith("/" + asked["cluster"])]
        return 200, {"items": rows}

    def get_environment(self, params, body, name):
        if name not in self.environments:
            return 404, NO_ENVIRONMENT % name
        return 200, self.environments[name]

    def list_deployments(self, params, body, name):
        if name not in self.environments:
            return 404, NO_ENVIRONMENT % name
        return 200, {"items": self.deployments[name]}

    def get_deployment(self, params, body, name, ident):
        if name not in self.environments:
            return 404, NO_ENVIRONMENT % name
        for deployment in self.deployments[name]:
            if deployment["id"] == ident:
                return 200, deployment
        return 404, f"Deployment {ident} does not exist for environment {name}"

    def deploy(self, params, body, name):
        token = dict(reversed(params)).get("deploymentToken", "")
        if not re.fullmatch(UUID, token):
            return NO_PAGE
        if not re.fullmatch(NAME, name):
            return 404, f"Environment with name '{name}' does not exist"
        return 200, ...

    def create(self, params, body):
        try:
            body = json.loads(body or "")
        except ValueError:
            body = None
        asked = GoStruct(body)
        name, group, definition = (asked.get(k) for k in ("name", "instanceGroup", "taskDefinition"))
        lines = []
        if group is None:
            lines.append("instanceGroup in body is required")
        if name is None:
            lines.append("name in body is required")
        elif not re.fullmatch(NAME, asked.text("name")):
            lines.append("name in body should match '^[a-zA-Z0-9-_]{1,30}$'")
        if definition is None:
            lines.append("taskDefinition in body is required")
        if lines:
            return 400, "\n".join(["validation failure list:"] + lines)
        cluster = GoStruct(group).text("cluster")
        if not cluster:
            return 404, "Cluster in the instance group is missing"
        if self.cluster_name(cluster) is None:
            return 404, "Invalid cluster ARN or name"
        if not asked.text("taskDefinition"):
            return 404, "Task definition is missing"
        if asked.text("name") == "taken":
            return 400, ("Error saving environment taken to store: "
                         "An environment with name taken already exists")
        return 200, ...


class GoStruct:
    """A JSON value as Go's decoder leaves it in a struct: names of members in any case, a value of the
    wrong type as the empty one of the right type."""

    def __init__(self, value):
        self.members = value if isinstance(value, dict) else {}

    def get(self, name):
        found = [v for k, v in self.members.items() if k.lower() == name.lower()]
        return found[-1] if found else None

    def text(self, name):
        value = self.get(name)
        return value if isinstance(value, str) else ""


def check(server, model, method, target, body=None, headers=None):
    where = f"{method} {target} {body or ''} {headers or ''}"
    want, what = model.answer(method, target, body)
    got, data, answer = server.ask(method, target, body, headers)
    assert got == want, f"{where}: {got}, Blox says {want} {what!r}: {data[:200]!r}"
    assert answer.headers["X-Content-Type-Options"] == "nosniff", where
    if want == 301:
        to = answer.headers["Location"]
        path, _, query = target.partition("?")
        assert to.partition("?")[0] == quote(what, safe="/:@$&+,;="), f"{where}: Location {to}"
        assert to.partition("?")[2] == query, f"{where}: Location {to}"
        page = method == "GET" and unquote(path) == what + "/" and what[-1] != "/"  # others are empty
        assert answer.headers["Content-Type"] == (HTML if page else TEXT), where
        assert bool(data) == page, f"{where}: {data!r}"
        return
    kind = JSON if want == 200 and method != "DELETE" else TEXT
    assert answer.headers["Content-Type"] == kind, f"{where}: {answer.headers['Content-Type']}"
    if method == "HEAD" or what is None:
        assert data == "", f"{where}: {data[:200]!r}"
    elif want == 200:
        assert data.endswith("\n") and data.count("\n") == 1, f"{where}: not one line"
        assert what is ... or same(json.loads(data), what), f"{where}: {data[:300]}"
    else:
        assert data.endswith("\n") and (what is ... or data == what + "\n"), f"{where}: {data!r}"


def same(got, want):
    """Lists of rows are in no order that Blox promised."""
    if isinstance(want, dict) and list(want) == ["items"]:
        def key(row):
            return json.dumps(row, sort_keys=True)
        return sorted(got["items"], key=key) == sorted(want["items"], key=key)
    return got == want


STATES = [None, "", "running", "RUNNING", "rUnNiNg", "pending", "stopped", "active", "INACTIVE",
          "draining", "wrong", "running ", "deprovisioning", LONG]
CLUSTERS = [None, "", "prod", "PROD", "x", "beijing", "nowhere", "p", "a b", "a.b", "a/b", "c" * 255,
            "c" * 256, "arn:aws:ecs:us-east-1:111122223333:cluster/prod",
            "arn:aws:ecs:eu-west-1:999999999999:cluster/prod",
            "arn:aws-cn:ecs:cn-north-1:111122223333:cluster/beijing",
            "arn:aws-us-gov:ecs:us-gov-west-1:111122223333:cluster/x",
            "arn:aws-iso-b:ecs:us-isob-east-1:111122223333:cluster/x",
            "arn:aws:ecs:us-east-1:1:cluster/prod", "arn:aws:ecs::111122223333:cluster/prod",
            "arn:aws:ecs:us-east-1:111122223333:cluster/", "arn:aws:ecs:us-east-1:111122223333:task/a",
            "arn:aws:ecs:us-east-1:1111222233334:cluster/prod", LONG]
STARTED_BY = [None, "", "deployment-1", "deployment-3", "DEPLOYMENT-1", "nobody", LONG * 3, "ü"]
EXTRAS = ["", "&status=%zz", "&startedBy=%00", "&status=%00", "&cluster=pro%0", "&%=1", "&other=1", "&status=running", "&cluster=prod", "&Status=running", "&=", "&startedBy=a",
          ";", ";cluster=prod", ";other=1", ";&;status=%zz;"]


def query(**values):
    return "&".join(f"{k}={quote(v, safe='%:')}" for k, v in values.items() if v is not None)


def filters():
    for status, cluster, started, extra in itertools.product(STATES, CLUSTERS, STARTED_BY, EXTRAS):
        # All pairs of two values matter, all of four do not.
        if sum(x not in (None, "", "running", "prod") for x in (status, cluster, started, extra)) > 2:
            continue
        text = query(status=status, cluster=cluster, startedBy=started) + extra
        yield f"/v1/tasks?{text}"
        if started in (None, "deployment-1"):
            yield f"/v1/instances?{text}"
    for cluster, extra in itertools.product(CLUSTERS, EXTRAS + ["&nextToken=", "&nextToken=abc"]):
        yield f"/v1/environments?{query(cluster=cluster)}{extra}"


def entities(model):
    for kind, member in (("tasks", "taskARN"), ("instances", "containerInstanceARN")):
        arns = [row["entity"][member] for row in model.rows[kind]]
        odd = [TASK.replace("1111", "111", 1), TASK + "/x", TASK + "%20", TASK.replace("ecs", "ec2"),
               TASK.replace("arn:aws:", "arn::"), TASK.replace("/prod/", "/"), TASK + LONG * 2,
               TASK.upper(), "short", TASK[:-1] + "%2e", TASK.replace("us-east-1", "")]
        for arn in arns + odd:
            for cluster in ("prod", "x", "beijing", "other", "p.q", "c" * 255, "c" * 256):
                for form in (arn, quote(arn, safe="%"), arn.replace(":", "%3a"),
                             arn.replace("/", "%2F")):
                    yield f"/v1/{kind}/{cluster}/{form}"


PATHS = ["/v1/tasks", "/v1/instances", f"/v1/tasks/prod/{TASK}", "/v1/ping", "/v1/environments",
         "/v1/environments/web", "/v1/environments/web/deployments", "/v1/environments/absent",
         "/v1/environments/web/deployments/aaaaaaaa-2222-3333-4444-555555555555",
         "/v1/environments/web/deployments/none", "/v1/environments/absent/deployments/none",
         "/v1/environments/a.b", "/v1/environments/a.b/deployments",
         "/v1/environments/a.b/deployments/x", "/v1/environments/web/deployments?nextToken=abc",
         "/v1/environments/" + "n" * 30, "/v1/environments/" + "n" * 2000, "/v1/environments/" + "n" * 31,
         "/v1/environments/web/other", "/v1/environments/web/deployments/a/b", "/v1/tasks/prod",
         "/v1/tasks/prod/short", "/v1/other", "/v1/Tasks", "/v1/ping/x", "/v1/stream", "/v1/instances/x"]
FORMS = ["/{}!(a)*'b", "/{}[a]|^`", "{}%00", "{}%zz", "{}/%", "{}?a=%zz", "{}?%00=1", "{}", "{}/", "{}//", "/{}", "{}?", "{}?a=1", "{}/?a=1", "/v1/..{}", "{}/.", "{}/x/..", "//.{}"]


def paths():
    for path, form, method in itertools.product(
            PATHS, FORMS, ("GET", "HEAD", "POST", "PUT", "DELETE", "PATCH", "OPTIONS")):
        target = form.format(path)
        if method == "POST" and re.match(r"/v1/environments(/?\??|/?\?a=1)$", target):
            continue  # with bodies below
        yield method, target


def bodies():
    good = {"name": "agent-1", "instanceGroup": {"cluster": "prod"}, "taskDefinition": "a:1"}
    values = {"name": [..., None, "", "a b", "x" * 30, "x" * 31, 7, [], "taken", "ü", "a\n"],
              "instanceGroup": [..., None, {}, [], "prod", {"cluster": None}, {"cluster": ""},
                                {"cluster": "a b"}, {"cluster": 7}, {"cluster": CLUSTERS[13]},
                                {"cluster": "x", "more": 1}],
              "taskDefinition": [..., None, "", 7, {}, "arn:aws:ecs:r:1:task-definition/a:1"]}
    for name, group, definition in itertools.product(values["name"] + [good["name"]],
                                                     values["instanceGroup"] + [good["instanceGroup"]],
                                                     values["taskDefinition"] + ["a:1"]):
        body = {"name": name, "instanceGroup": group, "taskDefinition": definition}
        yield json.dumps({k: v for k, v in body.items() if v is not ...})
    for text in ("", "{", "[]", "null", "7", '"x"', "{}", json.dumps(good)[:-1], json.dumps(good) * 2,
                 json.dumps({**good, "unknown": 1}),
                 json.dumps({k.upper(): v for k, v in good.items()}),
                 json.dumps({**good, "NAME": "a b"}), json.dumps({**good, "taskdefinition": None}),
                 json.dumps({**good, "instancegroup": {"CLUSTER": "a b"}}),
                 json.dumps({**good, "instanceGroup": {"Cluster": "x", "clusters": "a b"}})):
        yield text


def tokens():
    good = "11111111-2222-3333-4444-555555555555"
    for token in (None, "", good, good.upper(), good[:-1], good + "1", good.replace("-", ""), "g" * 36,
                  f"{good}&deploymentToken=x", f"x&deploymentToken={good}", good + "&other=1"):
        for name in ("web", "a.b"):
            text = "" if token is None else f"?deploymentToken={token}"
            yield f"/v1/environments/{name}/deployments{text}"
            yield f"/v1/environments/{name}/deployments/{text}"


def main():
    process = subprocess.Popen([sys.argv[1], "20"], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                               text=True)
    try:
        server = Server(int(process.stdout.readline()))
        model = Blox(server)
        for target in filters():
            check(server, model, "GET", target)
        for target in entities(model):
            check(server, model, "GET", target)
        for method, target in paths():
            check(server, model, method, target)
        for body in bodies():
            check(server, model, "POST", "/v1/environments", body)
        for kind in (None, "", "application/x-www-form-urlencoded", "text/plain", "image/png", "a/b;c=d"):
            for body in itertools.islice(bodies(), 0, None, 17):  # what it is called makes no difference
                check(server, model, "POST", "/v1/environments", body, {"Content-Type": kind})
        for target in tokens():
            check(server, model, "POST", target, "")
        for accept in ("*/*", "application/json", "text/plain", "text/html;q=0", "image/png", "", "a" * 500):
            for target in ("/v1/tasks", "/v1/tasks?status=wrong", "/v1/environments/web", "/v1/nothing"):
                check(server, model, "GET", target, headers={"Accept": accept})
        print(f"{server.asked} answers are as Blox 0.3's model says")
    finally:
        process.stdin.close()
        process.wait(30)


if __name__ == "__main__":
    main()
