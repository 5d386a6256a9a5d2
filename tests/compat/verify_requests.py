#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Checks recorded AWS requests with code that is not ours: botocore's signer and its models.

Reads JSON lines {method, path, headers: ["Name: value"...], body, access_key, secret, token,
region, service} and verifies of each

 * the SigV4 signature, recomputed by botocore.auth.SigV4Auth at the time of X-Amz-Date, over the
   headers that the request itself says it signed, which must include host, x-amz-date and, with
   a session token, x-amz-security-token;
 * that no header is sent twice, and that Content-Type and X-Amz-Target are the service's;
 * the parameters, by botocore.validate.ParamValidator against the service's model.

Not verified, because Debian 12's botocore (1.29) is older than the services: members that its
models do not know yet are reported as "unknown" on standard error and are no failure; SQS is
still a Query service there, so its JSON envelope is checked against constants in this file, and
its parameters against the shapes, which are the same.

Exit status: 0 all good, 1 a request is wrong, 2 unreadable input, 77 botocore is missing.
"""
import datetime
import hashlib
import json
import sys
import urllib.parse

try:
    import botocore
    import botocore.auth
    import botocore.awsrequest
    import botocore.credentials
    import botocore.loaders
    import botocore.model
    import botocore.serialize
    import botocore.validate
except ImportError:
    print("python3-botocore is not installed: AWS requests are not verified", file=sys.stderr)
    sys.exit(77)

TARGETS = {"ecs": ("AmazonEC2ContainerServiceV20141113.", "application/x-amz-json-1.1"),
           "sqs": ("AmazonSQS.", "application/x-amz-json-1.0")}
# What today's model of an operation has and botocore 1.29's lacks.
NEWER = {"ReceiveMessage": {"MessageSystemAttributeNames"}}
UNSIGNED = {"AssumeRoleWithWebIdentity"}
models = {}


def model(service):
    if service not in models:
        data = botocore.loaders.Loader().load_service_model(service, "service-2")
        models[service] = botocore.model.ServiceModel(data, service)
    return models[service]


def split_headers(lines):
    headers = {}
    for line in lines:
        name, _, value = line.partition(":")
        name = name.strip().lower()
        if name in headers:
            raise ValueError(f"header {name} is sent twice")
        headers[name] = value.strip()
    return headers


def authorization(headers):
    scheme, _, rest = headers.get("authorization", "").partition(" ")
    if scheme != "AWS4-HMAC-SHA256":
        raise ValueError(f"Authorization is \"{scheme}\", not AWS4-HMAC-SHA256")
    return dict(part.strip().split("=", 1) for part in rest.split(","))


def check_signature(rq, headers):
    auth = authorization(headers)
    date = headers["x-amz-date"]
    scope = f"{date[:8]}/{rq['region']}/{rq['service']}/aws4_request"
    if auth["Credential"] != f"{rq['access_key']}/{scope}":
        raise ValueError(f"Credential is {auth['Credential']}, expected scope {scope}")
    signed = auth["SignedHeaders"].split(";")
    must = {"host", "x-amz-date"} | ({"x-amz-security-token"} if rq["token"] else set())
    must |= {name for name in headers if name.startswith("x-amz-")}
    if not must <= set(signed):
        raise ValueError(f"not signed: {sorted(must - set(signed))}")
    if headers.get("x-amz-security-token", "") != rq["token"]:
        raise ValueError("the session token is not the one of the credentials")
    signer = botocore.auth.SigV4Auth(
        botocore.credentials.Credentials(rq["access_key"], rq["secret"]), rq["service"],
        rq["region"])
    request = botocore.awsrequest.AWSRequest(
        method=rq["method"], url="http://" + headers["host"] + rq["path"],
        data=rq["body"].encode(), headers={name: headers[name] for name in signed})
    request.context["timestamp"] = date
    canonical = signer.canonical_request(request)
    expected = signer.signature(signer.string_to_sign(request, canonical), request)
    if expected != auth["Signature"]:
        raise ValueError("the signature is wrong; canonical request:\n" + canonical)
    declared = headers.get("x-amz-content-sha256")
    if declared and declared != hashlib.sha256(rq["body"].encode()).hexdigest():
        raise ValueError("x-amz-content-sha256 is not the hash of the body")


def check_params(service, operation, params):
    operations = model(service)
    if operation not in operations.operation_names:
        print(f"{service} {operation}: unknown to this botocore", file=sys.stderr)
        return
    shape = operations.operation_model(operation).input_shape
    params = dict(params)
    for name in list(params):
        if name not in shape.members and name in NEWER.get(operation, ()):
            print(f"{operation} {name}: unknown to this botocore", file=sys.stderr)
            del params[name]
        elif name not in shape.members:
            raise ValueError(f"{operation} has no parameter {name}")
    report = botocore.validate.ParamValidator().validate(params, shape)
    if report.has_errors():
        raise ValueError(f"{operation}: {report.generate_report()}")


def check_json(rq, headers):
    prefix, content_type = TARGETS[rq["service"]]
    target = headers.get("x-amz-target", "")
    if not target.startswith(prefix):
        raise ValueError(f"X-Amz-Target is {target}")
    if headers.get("content-type") != content_type:
        raise ValueError(f"Content-Type is {headers.get('content-type')}, not {content_type}")
    operation = target[len(prefix):]
    check_params(rq["service"], operation, json.loads(rq["body"]))
    return operation


def check_query(rq, headers):
    if not headers.get("content-type", "").startswith("application/x-www-form-urlencoded"):
        raise ValueError(f"Content-Type is {headers.get('content-type')}")
    form = urllib.parse.parse_qs(rq["body"], keep_blank_values=True, strict_parsing=True)
    if any(len(values) != 1 for values in form.values()):
        raise ValueError("a form field is there twice")
    params = {name: values[0] for name, values in form.items()}
    operation = params.pop("Action")
    if params.pop("Version") != model(rq["service"]).api_version:
        raise ValueError("wrong Version")
    shape = model(rq["service"]).operation_model(operation).input_shape
    for name in params:
        if name in shape.members and shape.members[name].type_name == "integer":
            params[name] = int(params[name])
    check_params(rq["service"], operation, params)
    return operation


def nested(shape, form, name):
    """The value of a shape in an EC2 form below a name, None if it is not there."""
    if shape.type_name == "list":
        out = []
        while (one := nested(shape.member, form, f"{name}.{len(out) + 1}")) is not None:
            out.append(one)
        return out or None
    if shape.type_name == "structure":
        out = {}
        for member, inner in shape.members.items():
            key = inner.serialization.get("queryName") or \
                inner.serialization.get("name", member)[:1].upper() + \
                inner.serialization.get("name", member)[1:]
            value = nested(inner, form, f"{name}.{key}" if name else key)
            if value is not None:
                out[member] = value
        return out or None
    text = form.get(name)
    return int(text) if text and shape.type_name in ("integer", "long") else text


def check_ec2(rq, headers):
    """What the form says, said by botocore, must be the same form."""
    if not headers.get("content-type", "").startswith("application/x-www-form-urlencoded"):
        raise ValueError(f"Content-Type is {headers.get('content-type')}")
    form = dict(urllib.parse.parse_qsl(rq["body"], keep_blank_values=True, strict_parsing=True))
    operation = model("ec2").operation_model(form["Action"])
    params = nested(operation.input_shape, form, "") or {}
    check_params("ec2", operation.name, params)
    same = botocore.serialize.create_serializer("ec2").serialize_to_request(params, operation)
    if {k: str(v) for k, v in same["body"].items()} != form:
        raise ValueError(f"botocore would send {same['body']}, sent was {form}")
    return operation.name


def check(rq):
    headers = split_headers(rq["headers"])
    if rq["method"] != "POST" or rq["path"] != "/":
        raise ValueError(f"{rq['method']} {rq['path']}, expected POST /")
    if int(headers.get("content-length", 0)) != len(rq["body"].encode()):
        raise ValueError("Content-Length is wrong")
    by_service = {"sts": check_query, "ec2": check_ec2}
    operation = by_service.get(rq["service"], check_json)(rq, headers)
    if operation in UNSIGNED:
        if "authorization" in headers:
            raise ValueError(f"{operation} is signed")
    else:
        check_signature(rq, headers)
        then = datetime.datetime.strptime(headers["x-amz-date"], "%Y%m%dT%H%M%SZ")
        then = then.replace(tzinfo=datetime.timezone.utc)
        skew = abs((datetime.datetime.now(datetime.timezone.utc) - then).total_seconds())
        if skew > 900 and not rq.get("any_time"):
            raise ValueError(f"X-Amz-Date is {skew:.0f} s away from now")
    return operation


def main():
    bad = 0
    counts = {}
    for number, line in enumerate(sys.stdin, 1):
        try:
            rq = json.loads(line)
        except ValueError as error:
            print(f"line {number}: {error}", file=sys.stderr)
            return 2
        try:
            operation = check(rq)
            counts[operation] = counts.get(operation, 0) + 1
        except (ValueError, KeyError) as error:
            bad += 1
            print(f"request {number}: {error}", file=sys.stderr)
    print(f"botocore {botocore.__version__}: {sum(counts.values())} good, {bad} bad; " +
          ", ".join(f"{name} {count}" for name, count in sorted(counts.items())))
    return 1 if bad or not counts else 0


if __name__ == "__main__":
    sys.exit(main())
