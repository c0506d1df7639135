"""Results of actions on a server. Spec: ActionCache."""

from buildgrid.common.protos.build.bazel.remote.execution.v2 import remote_execution_pb2 as reapi
from buildgrid.common.protos.build.bazel.remote.execution.v2 import (
    remote_execution_pb2_grpc as reapi_grpc,
)

from thaw.digest import Digest
from thaw.nodes import to_proto
from thaw.remote.channel import Channel
from thaw.remote.failure import CallFailed


def get(channel: Channel, action: Digest) -> reapi.ActionResult | None:
    """What an action gave before. Raises CallFailed, Interrupted."""
    stub = reapi_grpc.ActionCacheStub(channel.grpc)
    request = reapi.GetActionResultRequest(
        instance_name=channel.settings.instance, action_digest=to_proto(action)
    )
    try:
        result: reapi.ActionResult = channel.call(stub.GetActionResult, request, action=action.hash)
    except CallFailed as error:
        if error.code == "NOT_FOUND":
            return None
        raise
    channel.traffic.add(downloaded=result.ByteSize(), results=1)
    return result


def put(channel: Channel, action: Digest, result: reapi.ActionResult) -> None:
    """Raises CallFailed, Interrupted."""
    stub = reapi_grpc.ActionCacheStub(channel.grpc)
    request = reapi.UpdateActionResultRequest(
        instance_name=channel.settings.instance,
        action_digest=to_proto(action),
        action_result=result,
    )
    channel.call(stub.UpdateActionResult, request, action=action.hash)
    channel.traffic.add(uploaded=result.ByteSize())
