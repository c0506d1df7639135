"""What a server can do, asked once. Spec: Capabilities.GetCapabilities."""

from dataclasses import dataclass

from buildgrid.common.protos.build.bazel.remote.execution.v2 import remote_execution_pb2 as reapi
from buildgrid.common.protos.build.bazel.remote.execution.v2 import (
    remote_execution_pb2_grpc as reapi_grpc,
)

from thaw.remote.channel import Channel
from thaw.remote.failure import RemoteError
from thaw.remote.newer import BATCH_UPDATE_COMPRESSORS, SUPPORTED_COMPRESSORS, ZSTD, numbers

BATCH = 1_000_000  # bytes: as much as a thin line moves in a sensible time
MESSAGE_LIMIT = 4 << 20  # bytes: what gRPC servers take if they are not told otherwise


@dataclass(frozen=True)
class Capabilities:
    """batch: bytes of blobs that fit in one message."""

    batch: int
    zstd: bool
    zstd_batch_update: bool
    update: bool
    execution: bool


def ask(channel: Channel) -> Capabilities:
    """Raises RemoteError for a server that can't serve us, Interrupted."""
    stub = reapi_grpc.CapabilitiesStub(channel.grpc)
    request = reapi.GetCapabilitiesRequest(instance_name=channel.settings.instance)
    answer: reapi.ServerCapabilities = channel.call(stub.GetCapabilities, request, tries=3)
    return understand(answer)


def understand(answer: reapi.ServerCapabilities) -> Capabilities:
    """Raises RemoteError."""
    low, high = answer.low_api_version, answer.high_api_version
    if low.major > 2 or (answer.HasField("high_api_version") and high.major < 2):
        raise RemoteError(f"speaks version {low.major} to {high.major} of the API, not 2")
    cache, execution = answer.cache_capabilities, answer.execution_capabilities
    sha256 = reapi.DigestFunction.SHA256
    if sha256 not in cache.digest_function:
        raise RemoteError("does not use SHA-256 digests")
    most = cache.max_batch_total_size_bytes
    compressors = numbers(cache, SUPPORTED_COMPRESSORS)
    return Capabilities(
        batch=min(BATCH, most if most > 0 else MESSAGE_LIMIT),
        zstd=ZSTD in compressors,
        zstd_batch_update=ZSTD in numbers(cache, BATCH_UPDATE_COMPRESSORS),
        update=cache.action_cache_update_capabilities.update_enabled,
        execution=execution.exec_enabled and execution.digest_function in (0, sha256),
    )
