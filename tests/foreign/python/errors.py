"""Why a call failed, beside its code."""

from google.rpc import error_details_pb2
from grpc_status import rpc_status


def detail(error, kind):
    """The detail of this kind (ErrorInfo, BadRequest, RetryInfo), or an empty one."""
    found = getattr(error_details_pb2, kind)()
    status = rpc_status.from_call(error)
    any(one.Unpack(found) for one in (status.details if status else ()))
    return found


def reason(error):
    info = detail(error, "ErrorInfo")
    return info.reason if info.domain == "reeve.dev" else None
