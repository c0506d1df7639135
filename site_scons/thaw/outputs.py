"""An action's outputs as the API's ActionResult message, and back. Pure data."""

from collections.abc import Callable, Mapping

from buildgrid.common.protos.build.bazel.remote.execution.v2 import remote_execution_pb2 as reapi

from thaw.digest import Digest
from thaw.nodes import FileNode, Node, TreeNode, from_proto, to_proto

DIRECTORY = "out/"  # where a command leaves its outputs, from the root that it sees


def to_result(
    outputs: Mapping[str, Node], log: Digest | None, began: float, ended: float
) -> reapi.ActionResult:
    """The message. ``began`` and ``ended``: when the command ran, in seconds of the epoch."""
    result = reapi.ActionResult()
    result.execution_metadata.execution_start_timestamp.FromNanoseconds(int(began * 1e9))
    result.execution_metadata.execution_completed_timestamp.FromNanoseconds(int(ended * 1e9))
    if log is not None:
        result.stdout_digest.CopyFrom(to_proto(log))
    for name, node in sorted(outputs.items()):
        path = DIRECTORY + name
        if isinstance(node, FileNode):
            result.output_files.add(
                path=path, digest=to_proto(node.digest), is_executable=node.executable
            )
        else:
            result.output_directories.add(path=path, tree_digest=to_proto(node.tree))
    return result


def from_result(
    result: reapi.ActionResult, tree_of: Callable[[Digest], TreeNode]
) -> dict[str, Node]:
    """The outputs by name. ``tree_of`` tells what a Tree message describes."""
    outputs: dict[str, Node] = {}
    for file in result.output_files:
        name = file.path.removeprefix(DIRECTORY)
        outputs[name] = FileNode(from_proto(file.digest), file.is_executable)
    for directory in result.output_directories:
        name = directory.path.removeprefix(DIRECTORY)
        outputs[name] = tree_of(from_proto(directory.tree_digest))
    return outputs


def with_trees(result: reapi.ActionResult, outputs: Mapping[str, Node]) -> reapi.ActionResult:
    """A result of another's as one of ours would be: servers order the same tree otherwise."""
    copy = reapi.ActionResult()
    copy.CopyFrom(result)
    for directory in copy.output_directories:
        node = outputs[directory.path.removeprefix(DIRECTORY)]
        if isinstance(node, TreeNode):
            directory.tree_digest.CopyFrom(to_proto(node.tree))
    return copy


def seconds_of(result: reapi.ActionResult) -> float | None:
    """How long the command took when it ran, if the message says."""
    metadata = result.execution_metadata
    if not metadata.HasField("execution_completed_timestamp"):
        return None
    start, end = metadata.execution_start_timestamp, metadata.execution_completed_timestamp
    return (end.ToNanoseconds() - start.ToNanoseconds()) / 1e9
