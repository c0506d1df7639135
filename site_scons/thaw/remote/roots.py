"""The root directories of a result's trees, without their (much larger) Tree messages.

Our messages are those of API 2.0, where an output directory has its Tree's digest only. Who wants
to use a tree as an input needs just the digest of its root Directory. So results of ours carry the
root Directory messages in ``execution_metadata.auxiliary_metadata``, in the order of the output
directories. Newer servers give ``root_directory_digest`` (field 5 of OutputDirectory).
"""

import contextlib
from collections.abc import Mapping

from buildgrid.common.protos.build.bazel.remote.execution.v2 import remote_execution_pb2 as reapi
from google.protobuf.any_pb2 import Any
from google.protobuf.message import DecodeError

from thaw.digest import Digest
from thaw.nodes import encode
from thaw.remote import vet
from thaw.remote.failure import Lie
from thaw.remote.newer import ROOT_DIRECTORY_DIGEST, values

TYPE = "type.googleapis.com/build.bazel.remote.execution.v2.Directory"


def with_roots(result: reapi.ActionResult, roots: Mapping[Digest, bytes]) -> reapi.ActionResult:
    """A copy that carries root directories. ``roots``: digest of a Tree -> encoded Directory.

    Raises KeyError for an output directory that ``roots`` has not, Lie for a malformed digest.
    """
    copy = reapi.ActionResult()
    copy.CopyFrom(result)
    extra = copy.execution_metadata.auxiliary_metadata
    others = [entry for entry in extra if entry.type_url != TYPE]
    del extra[:]
    extra.extend(others)
    for output in copy.output_directories:
        extra.append(Any(type_url=TYPE, value=roots[vet.digest(output.tree_digest)]))
    return copy


def roots_of(result: reapi.ActionResult) -> dict[Digest, bytes]:
    """Digest of each Tree -> encoded root Directory. Empty if the result does not say, or
    nonsense. Like the result itself, it is the server's word."""
    given = [e.value for e in result.execution_metadata.auxiliary_metadata if e.type_url == TYPE]
    if len(given) != len(result.output_directories):
        return {}
    promised = root_digests_of(result)
    roots: dict[Digest, bytes] = {}
    for output, data in zip(result.output_directories, given, strict=True):
        try:
            tree = vet.digest(output.tree_digest)
            message = reapi.Directory.FromString(data)
            vet.check_directory(message)
        except (DecodeError, Lie):
            return {}
        root = Digest.of_bytes(data)
        if encode(message) != data or promised.get(tree, root) != root:
            return {}
        roots[tree] = data
    return roots


def root_digests_of(result: reapi.ActionResult) -> dict[Digest, Digest]:
    """Digest of each Tree -> digest of its root Directory, where the server gives it."""
    roots: dict[Digest, Digest] = {}
    for output in result.output_directories:
        for data in values(output, ROOT_DIRECTORY_DIGEST):
            if not isinstance(data, bytes):
                continue
            with contextlib.suppress(DecodeError, Lie):
                root = vet.digest(reapi.Digest.FromString(data))
                roots[vet.digest(output.tree_digest)] = root
    return roots
