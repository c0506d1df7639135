"""Fields of the API that are newer than our generated messages, which are those of version 2.0.

They are read and written by number, in the wire format: what the generated code does not know, it
keeps. Spec: remote_execution.proto of API 2.3.
"""

from collections.abc import Iterable, Iterator
from typing import Any, cast

from google.protobuf.unknown_fields import UnknownFieldSet

ZSTD = 1  # Compressor.Value
SUPPORTED_COMPRESSORS = 6  # of CacheCapabilities
BATCH_UPDATE_COMPRESSORS = 7  # of CacheCapabilities
RESPONSE_COMPRESSOR = 4  # of BatchReadBlobsResponse.Response
ROOT_DIRECTORY_DIGEST = 5  # of OutputDirectory
ACCEPT_ZSTD = bytes([3 << 3 | 2, 1, ZSTD])  # BatchReadBlobsRequest.acceptable_compressors
IS_ZSTD = bytes([3 << 3, ZSTD])  # BatchUpdateBlobsRequest.Request.compressor


def values(message: Any, field: int) -> Iterator[int | bytes]:
    """The values of a field that the generated code does not know."""
    unknowns = cast(Iterable[Any], UnknownFieldSet(message))  # its type stub forgot that
    return (unknown.data for unknown in unknowns if unknown.field_number == field)


def numbers(message: Any, field: int) -> list[int]:
    """The values of an enumeration, single or repeated. None of ours is above 127."""
    found: list[int] = []
    for value in values(message, field):
        found.extend(value if isinstance(value, bytes) else [value])
    return found
