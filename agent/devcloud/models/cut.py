#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Cuts AWS's service models (botocore's service-2.json) down to the operations that devcloud
serves and the shapes these reach, without documentation.

usage: cut.py BOTOCORE_DATA_DIR   (holds ecs/2014-11-13/service-2.json, sqs/..., sts/..., ec2/...)
"""
import glob
import json
import os
import sys

SERVED = {
    "ecs": """ListClusters DescribeClusters CreateCluster DeleteCluster ListContainerInstances
        DescribeContainerInstances ListTasks DescribeTasks StartTask RunTask StopTask
        DescribeTaskDefinition RegisterTaskDefinition ListTaskDefinitions DeregisterTaskDefinition
        PutAttributes DeleteAttributes ListAttributes UpdateContainerInstancesState
        DeregisterContainerInstance TagResource ListTagsForResource""",
    "sqs": """GetQueueUrl GetQueueAttributes ReceiveMessage DeleteMessage DeleteMessageBatch
        ChangeMessageVisibility ChangeMessageVisibilityBatch SendMessage SendMessageBatch
        CreateQueue PurgeQueue ListQueues""",
    "sts": "GetCallerIdentity AssumeRole AssumeRoleWithWebIdentity",
    "ec2": "DescribeInstances",
}
DROP = {"documentation", "documentationUrl", "examples", "deprecatedMessage", "deprecatedSince",
        "endpoint", "endpointdiscovery", "httpChecksum"}


def strip(node):
    if isinstance(node, dict):
        return {k: strip(v) for k, v in node.items()
                if not (k in DROP and not isinstance(v, dict)) and k not in ("xmlNamespace",)}
    if isinstance(node, list):
        return [strip(v) for v in node]
    return node


def refs(node):
    if isinstance(node, dict):
        for key, value in node.items():
            if key == "shape" and isinstance(value, str):
                yield value
            else:
                yield from refs(value)
    elif isinstance(node, list):
        for value in node:
            yield from refs(value)


def cut(model, operations):
    ops = {name: strip(model["operations"][name]) for name in sorted(operations)}
    shapes, todo = {}, list(refs(ops))
    while todo:
        name = todo.pop()
        if name not in shapes:
            shapes[name] = strip(model["shapes"][name])
            todo.extend(refs(shapes[name]))
    return {"metadata": strip(model["metadata"]), "operations": ops,
            "shapes": dict(sorted(shapes.items()))}


def main():
    here = os.path.dirname(os.path.abspath(__file__))
    for service, operations in SERVED.items():
        path = sorted(glob.glob(os.path.join(sys.argv[1], service, "*", "service-2*.json")))[-1]
        with open(path, encoding="utf-8") as file:
            model = cut(json.load(file), operations.split())
        with open(os.path.join(here, service + ".json"), "w", encoding="utf-8") as file:
            json.dump(model, file, indent=0, separators=(",", ":"), ensure_ascii=True)
            file.write("\n")


main()
