"""Asks what the cases of a table ask, and says what was answered.

contract.py NODES IDENTITIES SERVICE_CONFIG CASES: each case is asked as the identity that it names.
"""

import functools, json, pathlib, sys
import grpc
from google.protobuf import json_format
import errors, fleet
from reeve.v1 import resolver_pb2 as wire
from said import say

nodes, identities, service_config, cases = sys.argv[1].split(","), *map(pathlib.Path, sys.argv[2:5])


@functools.cache
def resolver(name):
    return fleet.resolver(nodes, identities / name, service_config)


def ask(case):
    request = json_format.ParseDict(case["request"], getattr(wire, case["call"] + "Request")())
    try:
        answer = getattr(resolver(case["as"]), case["call"])(request)
    except grpc.RpcError as error:
        info = errors.detail(error, "ErrorInfo")
        fields = [one.field for one in errors.detail(error, "BadRequest").field_violations]
        return {
            "code": error.code().name,
            "reason": errors.reason(error),
            "metadata": dict(info.metadata),
            "fields": fields,
            "message": error.details(),
        }
    shown = {"preserving_proto_field_name": True, "always_print_fields_with_no_presence": True}
    return {"code": "OK", "answer": json_format.MessageToDict(answer, **shown)}


for case in json.loads(cases.read_text()):
    say("case", name=case["name"], **ask(case))
