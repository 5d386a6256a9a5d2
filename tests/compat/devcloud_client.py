#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Debian's botocore as a client of devcloud, and as the judge of what devcloud accepted: it signs
each recorded request anew (SigV4Auth) and checks its parameters (ParamValidator).

usage: devcloud_client.py BLOX-DEVCLOUD
"""
import datetime
import json
import os
import subprocess
import sys
import time
import urllib.error
import urllib.request

try:
    import botocore.session
    from botocore import model, validate
    from botocore.auth import SigV4Auth
    from botocore.awsrequest import AWSRequest
    from botocore.config import Config
    from botocore.credentials import Credentials
    from botocore.exceptions import ClientError
except ImportError:
    sys.exit(77)

MODELS = os.path.join(os.path.dirname(os.path.abspath(__file__)), "../../agent/devcloud/models")
failures = 0


def check(what, good, detail=""):
    global failures
    if not good:
        failures += 1
        print("FAILED:", what, detail)


def code_of(call, **params):
    try:
        call(**params)
    except ClientError as error:
        return error.response["Error"]["Code"]
    return None


class Cloud:
    def __init__(self, program, *options):
        self.process = subprocess.Popen([program, "--instances", "3", "--die-with-parent",
                                         *options], stdout=subprocess.PIPE)
        self.ready = json.loads(self.process.stdout.readline())
        self.endpoint = self.ready["endpoint"]

    def http(self, path, body=None, method=None, headers=None):
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(self.endpoint + path, data=data, method=method,
                                         headers=headers or {})
        with urllib.request.urlopen(request, timeout=30) as answer:
            return answer.read().decode()

    def control(self, verb, body=None):
        return json.loads(self.http("/_control/" + verb, body))

    def client(self, service, **options):
        session = botocore.session.Session()
        session.set_credentials(options.get("key", self.ready["access_key_id"]),
                                options.get("secret", self.ready["secret_access_key"]),
                                options.get("token"))
        return session.create_client(service, region_name=self.ready["region"],
                                     endpoint_url=self.endpoint,
                                     config=Config(retries={"max_attempts": 0}))

    def sqs(self, operation, **params):
        """Debian's botocore speaks SQS's old protocol, so only its signer is used."""
        request = AWSRequest("POST", self.endpoint + "/", data=json.dumps(params).encode(),
                             headers={"Content-Type": "application/x-amz-json-1.0",
                                      "X-Amz-Target": "AmazonSQS." + operation})
        SigV4Auth(Credentials(self.ready["access_key_id"], self.ready["secret_access_key"]),
                  "sqs", self.ready["region"]).add_auth(request)
        with urllib.request.urlopen(urllib.request.Request(
                request.url, data=request.data, headers=dict(request.headers),
                method="POST"), timeout=30) as answer:
            return json.load(answer)


def wait_for(what, fn):
    end = time.monotonic() + 60
    while time.monotonic() < end:
        if fn():
            return
        time.sleep(0.01)
    check(what, False, "timed out")


def use_ecs(cloud):
    ecs = cloud.client("ecs")
    arns = ecs.list_container_instances()["containerInstanceArns"]
    check("three instances", len(arns) == 3, arns)
    described = ecs.describe_container_instances(containerInstances=arns)["containerInstances"]
    check("described", all(i["status"] == "ACTIVE" and isinstance(
        i["registeredAt"], datetime.datetime) for i in described))
    started = ecs.start_task(containerInstances=arns + ["none"], taskDefinition="daemon:1",
                             startedBy="d1", group="daemon:x", tags=[{"key": "a", "value": "b"}])
    check("started", len(started["tasks"]) == 3, started)
    check("missing", [f["reason"] for f in started["failures"]] == ["MISSING"])
    tasks = [t["taskArn"] for t in started["tasks"]]
    ecs.get_waiter("tasks_running").wait(tasks=tasks, WaiterConfig={"Delay": 1})
    ecs.stop_task(task=tasks[0], reason="done")
    wait_for("stopped", lambda: ecs.describe_tasks(tasks=tasks[:1])["tasks"][0]["lastStatus"]
             == "STOPPED")
    check("startedBy", sorted(ecs.list_tasks(startedBy="d1")["taskArns"]) == sorted(tasks[1:]))
    pages = ecs.get_paginator("list_attributes").paginate(
        targetType="container-instance", attributeName="ecs.instance-type",
        PaginationConfig={"PageSize": 2})
    check("attributes", len(pages.build_full_result()["attributes"]) == 3)
    ecs.put_attributes(attributes=[{"name": "gossip.addr", "value": "10.0.0.1:7381",
                                    "targetId": arns[0]}])
    check("filter", ecs.list_container_instances(
        filter="attribute:gossip.addr == 10.0.0.1:7381")["containerInstanceArns"] == arns[:1])
    ecs.update_container_instances_state(containerInstances=arns[:1], status="DRAINING")
    ecs.tag_resource(resourceArn=arns[0], tags=[{"key": "k", "value": "v"}])
    check("tags", ecs.list_tags_for_resource(resourceArn=arns[0])["tags"]
          == [{"key": "k", "value": "v"}])
    check("clusters", len(ecs.describe_clusters(clusters=["default"])["clusters"]) == 1)
    check("definition", ecs.describe_task_definition(taskDefinition="daemon")["taskDefinition"][
        "revision"] == 2)
    check("no cluster", code_of(ecs.list_tasks, cluster="none") == "ClusterNotFoundException")
    check("no task", code_of(ecs.stop_task, task="none") == "InvalidParameterException")
    cloud.control("fault", {"mode": "error", "operation": "ListTasks", "count": 1})
    check("fault", code_of(ecs.list_tasks) == "ServerException")


def use_credentials(cloud):
    check("unknown key", code_of(cloud.client("ecs", key="AKIANOBODY").list_clusters)
          == "UnrecognizedClientException")
    check("wrong secret", code_of(cloud.client("ecs", secret="x").list_clusters)
          == "InvalidSignatureException")
    sts = cloud.client("sts")
    check("identity", sts.get_caller_identity()["Account"] == "111122223333")
    role = sts.assume_role(RoleArn="arn:aws:iam::111122223333:role/r",
                           RoleSessionName="session")["Credentials"]
    ecs = cloud.client("ecs", key=role["AccessKeyId"], secret=role["SecretAccessKey"],
                       token=role["SessionToken"])
    check("session", len(ecs.list_clusters()["clusterArns"]) == 1)
    path = "/_imds/" + cloud.ready["instances"][0]["id"] + "/latest/"
    token = cloud.http(path + "api/token", method="PUT",
                       headers={"X-aws-ec2-metadata-token-ttl-seconds": "60"})
    document = json.loads(cloud.http(path + "dynamic/instance-identity/document",
                                     headers={"X-aws-ec2-metadata-token": token}))
    check("document", document["region"] == cloud.ready["region"])


def use_ec2(cloud):
    ec2 = cloud.client("ec2")
    ids = [i["id"] for i in cloud.ready["instances"]]

    def states(**params):
        return {i["InstanceId"]: i["State"]["Name"] for r in ec2.describe_instances(
            **params)["Reservations"] for i in r["Instances"]}
    check("all run", states() == {i: "running" for i in ids}, states())
    only = [{"Name": "instance-id", "Values": [ids[1], "i-00000000000000000"]}]
    check("by filter", states(Filters=only) == {ids[1]: "running"})
    check("by id", states(InstanceIds=ids[:2]) == {i: "running" for i in ids[:2]})
    one = ec2.describe_instances(InstanceIds=ids[:1])["Reservations"][0]["Instances"][0]
    check("types", isinstance(one["LaunchTime"], datetime.datetime) and one["State"]["Code"] == 16 and
          one["Tags"] == [{"Key": "Name", "Value": "ecs & blox"}], one)
    check("no such", code_of(ec2.describe_instances, InstanceIds=["i-00000000000000000"])
          == "InvalidInstanceID.NotFound")
    check("no id", code_of(ec2.describe_instances, InstanceIds=["x"])
          == "InvalidInstanceID.Malformed")
    check("no filter", code_of(ec2.describe_instances, Filters=[{"Name": "x", "Values": ["y"]}])
          == "InvalidParameterValue")
    check("page", code_of(ec2.describe_instances, MaxResults=4) == "InvalidParameterValue")
    cloud.control("add-instances", {"count": 9})
    pages = list(ec2.get_paginator("describe_instances").paginate(
        PaginationConfig={"PageSize": 5}))
    check("pages", [len(p["Reservations"]) for p in pages] == [5, 5, 2], pages)
    check("unknown key", code_of(cloud.client("ec2", key="AKIANOBODY").describe_instances)
          == "AuthFailure")
    cloud.control("fault", {"mode": "throttle", "service": "ec2", "count": 1})
    check("throttled", code_of(ec2.describe_instances) == "RequestLimitExceeded")
    cloud.control("terminate", {"instance": ids[2]})
    cloud.control("deregister", {"instance": ids[1]})
    cloud.control("ec2-state", {"instance": ids[0], "state": "stopped"})
    check("ends", states(Filters=[{"Name": "instance-id", "Values": ids}])
          == dict(zip(ids, ["stopped", "running", "terminated"])))


def use_queue(cloud):
    got = cloud.sqs("ReceiveMessage", QueueUrl=cloud.ready["queue_url"], MaxNumberOfMessages=10,
                    WaitTimeSeconds=5)["Messages"]
    event = json.loads(got[0]["Body"])
    check("envelope", set(event) == {"version", "id", "detail-type", "source", "account", "time",
                                     "region", "resources", "detail"}, event)
    done = cloud.sqs("DeleteMessageBatch", QueueUrl=cloud.ready["queue_url"],
                     Entries=[{"Id": str(i), "ReceiptHandle": m["ReceiptHandle"]}
                              for i, m in enumerate(got)])
    check("deleted", len(done["Successful"]) == len(got), done)


def judge(cloud):
    """Every accepted request has the signature botocore computes and fits its validator."""
    services = {}
    for name in ("ecs", "sqs"):
        with open(os.path.join(MODELS, name + ".json"), encoding="utf-8") as file:
            services[name] = model.ServiceModel(json.load(file), name)
    count = 0
    for line in cloud.http("/_control/requests?after=0").splitlines():
        request = json.loads(line)
        if not request["accepted"]:
            continue
        headers = {name.lower(): value for name, value in request["headers"]}
        signed = headers["authorization"].split("SignedHeaders=")[1].split(",")[0].split(";")
        again = AWSRequest(request["method"], cloud.endpoint + request["target"],
                           data=request["body"].encode(),
                           headers={name: headers[name] for name in signed})
        again.context["timestamp"] = headers["x-amz-date"]
        auth = SigV4Auth(Credentials(request["access_key"], request["secret"], request["token"]),
                         request["service"], request["region"])
        text = auth.string_to_sign(again, auth.canonical_request(again))
        check("signature of " + request["operation"],
              headers["authorization"].endswith(auth.signature(text, again)))
        if request["service"] in services:
            shape = services[request["service"]].operation_model(request["operation"]).input_shape
            report = validate.ParamValidator().validate(json.loads(request["body"] or "{}"), shape)
            check("shape of " + request["operation"], not report.has_errors(),
                  report.generate_report())
        count += 1
    check("requests judged", count > 20, count)


def judge_answers(cloud):
    stats = cloud.control("stats")
    check("answers fit the models", stats.get("answer_shape_errors", 0) == 0, stats)


def main():
    cloud = Cloud(sys.argv[1])
    try:
        use_ecs(cloud)
        use_credentials(cloud)
        use_queue(cloud)
        use_ec2(cloud)
        judge(cloud)
        judge_answers(cloud)
    finally:
        cloud.process.terminate()
    check("exit", cloud.process.wait(20) == 0, cloud.process.returncode)
    print("failures:", failures)
    return 1 if failures else 0


sys.exit(main())
