# SPDX-License-Identifier: Apache-2.0
"""A small ECS and SQS that answers as the emulators do that people test with (moto, LocalStack,
ElasticMQ, goaws), not as AWS does: no versions, no clusterArn of an instance, no failures for what
it does not know, no paging, filters that are ignored, no group of a task, short ARNs, empty texts
where AWS has no member, signatures not looked at, queue URLs of another host, errors as HTML or
plain text, answers in chunks or compressed though nobody asked for it, polls that do not wait.
Independent of agent/devcloud: written from how those answer, not from how blox asks."""
import gzip
import html
import json
import threading
import time
import urllib.parse
import uuid
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

ACCOUNT = "123456789012"
REGION = "us-east-1"
VISIBILITY_S = 10


def arn(kind, name):
    return f"arn:aws:ecs:{REGION}:{ACCOUNT}:{kind}/{name}"


class Refused(Exception):
    def __init__(self, code, message="", status=400):
        super().__init__(code)
        self.code, self.message, self.status = code, message, status


class Emulator:
    def __init__(self, cluster="default", instances=3, short_arns=False, query_only=False,
                 fail_every=0, hasty=False, compress=False, forgets_group=False):
        self.cluster = cluster
        self.query_only = query_only    # SQS of before 2023: no JSON
        self.fail_every = fail_every    # each so manyeth request ends with status 500 and HTML
        self.compress = compress
        self.forgets_group = forgets_group  # of tasks, as moto does
        self.hasty = hasty              # ReceiveMessage never waits
        self.lock = threading.Condition()
        self.requests = 0
        self.calls = {}
        self.tasks = {}
        self.instances = {}
        self.ready, self.hidden = [], {}
        for i in range(instances):
            self.add_instance(i, short_arns)
        self.server = ThreadingHTTPServer(("127.0.0.1", 0), self.handler())
        self.server.daemon_threads = True
        self.port = self.server.server_address[1]
        self.endpoint = f"http://127.0.0.1:{self.port}"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def close(self):
        self.server.shutdown()
        self.server.server_close()

    @property
    def queue_url(self):
        host = "localhost" if self.query_only else "sqs.us-east-1.localhost.localstack.cloud"
        return f"http://{host}:{self.port}/{ACCOUNT}/events"

    def add_instance(self, i, short):
        number = str(uuid.uuid4())
        name = number if short else f"{self.cluster}/{number}"
        self.instances[number] = {
            "containerInstanceArn": arn("container-instance", name),
            "ec2InstanceId": f"i-{i:017x}", "agentConnected": True, "status": "ACTIVE",
            "registeredResources": [
                {"name": "CPU", "type": "INTEGER", "doubleValue": 0.0, "longValue": 0,
                 "integerValue": 4096},
                {"name": "PORTS", "type": "STRINGSET", "doubleValue": 0.0, "longValue": 0,
                 "integerValue": 0, "stringSetValue": ["22", "2376"]}],
            "remainingResources": [], "runningTasksCount": 0, "pendingTasksCount": 0,
            "versionInfo": {"agentVersion": "1.0.0", "agentHash": "4023248",
                            "dockerVersion": "DockerVersion: 1.5.0"},
            "attributes": [{"name": "ecs.availability-zone", "value": "us-east-1a"},
                           {"name": "ecs.os-type", "value": "linux"}],
            "registeredAt": time.time(), "regionName": REGION, "id": number,
            "clusterName": self.cluster}
        return number

    # ---- ECS ------------------------------------------------------------------------------

    def check_cluster(self, p):
        if p.get("cluster", "default").split("/")[-1] != self.cluster:
            raise Refused("ClusterNotFoundException", "Cluster not found.")

    def DescribeClusters(self, p):
        found, failures = [], []
        for name in p.get("clusters") or ["default"]:
            short = name.split("/")[-1]
            if short == self.cluster:
                found.append({"clusterArn": arn("cluster", short), "clusterName": short,
                              "status": "ACTIVE", "runningTasksCount": 0,
                              "registeredContainerInstancesCount": len(self.instances)})
            else:
                failures.append({"arn": arn("cluster", short), "reason": "MISSING"})
        return {"clusters": found, "failures": failures}

    def ListClusters(self, _):
        return {"clusterArns": [arn("cluster", self.cluster)]}

    def ListContainerInstances(self, p):
        self.check_cluster(p)
        return {"containerInstanceArns": sorted(
            i["containerInstanceArn"] for i in self.instances.values())}

    def DescribeContainerInstances(self, p):
        self.check_cluster(p)
        found, failures = [], []
        for name in p["containerInstances"]:
            number = name.split("/")[-1]
            if number in self.instances:
                found.append(self.instances[number])
            else:
                failures.append({"arn": arn("container-instance", number), "reason": "MISSING"})
        return {"failures": failures, "containerInstances": found}

    def ListTasks(self, p):
        self.check_cluster(p)
        out = list(self.tasks.values())
        for member, key in (("containerInstance", "containerInstanceArn"),
                            ("startedBy", "startedBy"), ("desiredStatus", "desiredStatus")):
            if p.get(member):
                out = [t for t in out if t[key] == p[member]]
        return {"taskArns": [t["taskArn"] for t in out]}

    def shown(self, task):
        return {k: v for k, v in task.items() if k != "group" or not self.forgets_group}

    def DescribeTasks(self, p):
        self.check_cluster(p)
        asked = [a.split("/")[-1] for a in p["tasks"]]
        return {"tasks": [self.shown(t) for k, t in self.tasks.items() if k in asked],
                "failures": []}

    def StartTask(self, p):
        self.check_cluster(p)
        started = []
        for name in p["containerInstances"]:
            instance = self.instances[name.split("/")[-1]]
            number = str(uuid.uuid4())
            self.tasks[number] = {
                "taskArn": arn("task", f"{self.cluster}/{number}"),
                "clusterArn": arn("cluster", self.cluster),
                "containerInstanceArn": instance["containerInstanceArn"],
                "taskDefinitionArn": arn("task-definition", "daemon:1"),
                "overrides": p.get("overrides") or {}, "containers": [], "lastStatus": "RUNNING",
                "desiredStatus": "RUNNING", "startedBy": p.get("startedBy", ""),
                "group": p.get("group", ""), "launchType": "EC2", "stoppedReason": "",
                "tags": p.get("tags") or [], "resourceRequirements": {"CPU": 0, "MEMORY": 100}}
            instance["runningTasksCount"] += 1
            started.append(self.shown(self.tasks[number]))
        return {"tasks": started, "failures": []}

    def StopTask(self, p):
        task = self.tasks.get(p["task"].split("/")[-1])
        if task is None:
            raise Refused("InvalidParameterException", "The referenced task was not found.")
        self.end_task(task, p.get("reason", ""))
        return {"task": self.shown(task)}

    def end_task(self, task, reason=""):
        task.update(desiredStatus="STOPPED", lastStatus="STOPPED", stoppedReason=reason)

    def DescribeTaskDefinition(self, p):
        if p["taskDefinition"].split("/")[-1] not in ("daemon", "daemon:1"):
            raise Refused("ClientException", "Unable to describe task definition.")
        return {"failures": [], "taskDefinition": {
            "family": "daemon", "revision": 1, "status": "ACTIVE", "volumes": [],
            "taskDefinitionArn": arn("task-definition", "daemon:1"),
            "containerDefinitions": [{"name": "d", "image": "d", "cpu": 1, "memory": 100}]}}

    def ListAttributes(self, _):
        return {"attributes": []}

    def PutAttributes(self, p):
        return {"attributes": p["attributes"]}

    # ---- SQS ------------------------------------------------------------------------------

    def send(self, body):
        with self.lock:
            self.ready.append({"MessageId": str(uuid.uuid4()), "Body": body})
            self.lock.notify_all()

    def left(self):
        with self.lock:
            return len(self.ready) + len(self.hidden)

    def GetQueueUrl(self, p):
        if p["QueueName"] != "events":
            raise Refused("AWS.SimpleQueueService.NonExistentQueue", "No such queue")
        return {"QueueUrl": self.queue_url}

    def ReceiveMessage(self, p):
        end = time.monotonic() + (0 if self.hasty else min(int(p.get("WaitTimeSeconds", 0)), 2))
        while not self.ready and time.monotonic() < end:
            self.lock.wait(max(0, end - time.monotonic()))
        out = []
        for handle, (m, until) in list(self.hidden.items()):
            if time.monotonic() >= until:  # received, but never deleted
                del self.hidden[handle]
                self.ready.append(m)
        while self.ready and len(out) < int(p.get("MaxNumberOfMessages", 1)):
            m = self.ready.pop(0)
            handle = "+/=" + str(uuid.uuid4())
            self.hidden[handle] = m, time.monotonic() + VISIBILITY_S
            out.append({**m, "ReceiptHandle": handle, "MD5OfBody": "0" * 32})
        return {"Messages": out} if out else {}

    def DeleteMessageBatch(self, p):
        for e in p["Entries"]:
            self.hidden.pop(e["ReceiptHandle"], None)
        return {"Successful": [{"Id": e["Id"]} for e in p["Entries"]]}

    def query_xml(self, action, result):
        inner = ""
        for m in result.get("Messages", []):
            fields = "".join(f"<{k}>{html.escape(v)}</{k}>" for k, v in m.items())
            inner += (f"<Message>{fields}<Attribute><Name>SentTimestamp</Name>"
                      f"<Value>{int(time.time() * 1000)}</Value></Attribute></Message>")
        for e in result.get("Successful", []):
            inner += f"<{action}ResultEntry><Id>{e['Id']}</Id></{action}ResultEntry>"
        if "QueueUrl" in result:
            inner += f"<QueueUrl>{result['QueueUrl']}</QueueUrl>"
        return (f"<{action}Response xmlns=\"http://queue.amazonaws.com/doc/2012-11-05/\">"
                f"<{action}Result>{inner}</{action}Result><ResponseMetadata><RequestId>0</RequestId>"
                f"</ResponseMetadata></{action}Response>")

    @staticmethod
    def form(body):
        out = {}
        for key, value in urllib.parse.parse_qsl(body, keep_blank_values=True):
            parts = key.split(".")
            if len(parts) == 3:
                entries = out.setdefault("Entries", {})
                entries.setdefault(parts[1], {})[parts[2]] = value
            else:
                out[key] = value
        if "Entries" in out:
            out["Entries"] = list(out["Entries"].values())
        return out

    # ---- HTTP -----------------------------------------------------------------------------

    def answer(self, path, headers, body):
        """(status, content type, text)"""
        with self.lock:
            self.requests += 1
            if self.fail_every and self.requests % self.fail_every == 0:
                return 500, "text/html", "<!doctype html><title>500 Internal Server Error</title>"
            target = headers.get("X-Amz-Target", "")
            service, _, action = target.partition(".")
            query = not target
            params = self.form(body) if query else json.loads(body or "{}")
            action = params.get("Action", "") if query else action
            self.calls[action] = self.calls.get(action, 0) + 1
            sqs = query or service == "AmazonSQS"
            if sqs and query != self.query_only:
                return 400, "text/plain; charset=utf-8", "Bad Request\n"
            if query and action != "GetQueueUrl" and path != f"/{ACCOUNT}/events":
                return 404, "text/plain", "404 page not found\n"
            try:
                result = getattr(self, action)(params)
            except Refused as e:
                kind = "application/x-amz-json-1.1"
                text = json.dumps({"__type": e.code, "message": e.message})
                if query:
                    kind = "text/xml"
                    text = (f"<ErrorResponse><Error><Type>Sender</Type><Code>{e.code}</Code><Message>"
                            f"{e.message}</Message></Error></ErrorResponse>")
                return e.status, kind, text
            if query:
                return 200, "text/xml", self.query_xml(action, result)
            return 200, "application/json", json.dumps(result, indent=1)

    def handler(self):
        emulator = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self):
                body = self.rfile.read(int(self.headers.get("Content-Length", 0))).decode()
                try:
                    status, kind, text = emulator.answer(self.path, self.headers, body)
                except (KeyError, AttributeError, ValueError) as e:
                    status, kind, text = 500, "text/html", f"<h1>Internal Server Error</h1>{e!r}"
                try:
                    self.write(status, kind, text.encode())
                except OSError:
                    pass  # the caller went away

            def write(self, status, kind, data):
                self.send_response(status)
                self.send_header("Content-Type", kind)
                if emulator.compress:
                    self.send_header("Content-Encoding", "gzip")
                    data = gzip.compress(data)
                if status == 200 and len(data) > 200:
                    self.send_header("Transfer-Encoding", "chunked")
                    self.end_headers()
                    for i in range(0, len(data), 777):
                        piece = data[i:i + 777]
                        self.wfile.write(b"%x\r\n%s\r\n" % (len(piece), piece))
                    self.wfile.write(b"0\r\n\r\n")
                else:
                    self.send_header("Content-Length", str(len(data)))
                    self.end_headers()
                    self.wfile.write(data)

            def log_message(self, *_):
                pass

        return Handler
