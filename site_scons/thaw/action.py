"""An action as pure data, and the digest it is cached under.

The digest is that of a Remote Execution API Action message (Command, input root, platform), so
the local cache key, the remote cache key and a remote execution request are one thing. What a
command can see is in it: the toolchain's whole tree, every input, arguments, environment. Core
count, cache location, checkout path, user, time and terminal are not.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

from buildgrid.common.protos.build.bazel.remote.execution.v2 import remote_execution_pb2 as reapi

from thaw.digest import Digest
from thaw.nodes import SOURCE_DATE_EPOCH, Node, TreeNode, build_tree, encode, to_proto
from thaw.sandbox import USER_ID

BASE_ENVIRONMENT = {
    "HOME": "/tmp",
    "LANG": "C.UTF-8",
    "PATH": "/usr/bin:/usr/sbin",
    # The toolchain is read-only: compiled Python modules live as long as the action.
    "PYTHONPYCACHEPREFIX": "/tmp/pyc",
    "SOURCE_DATE_EPOCH": str(SOURCE_DATE_EPOCH),
    "TZ": "UTC",
}

# What a machine that runs it must be, and as whom it runs: the first two are of the API's platform
# lexicon, the others buildbox' own.
BASE_PLATFORM = {
    "ISA": "x86-64",
    "OSFamily": "linux",
    "unixGID": str(USER_ID),
    "unixUID": str(USER_ID),
}


@dataclass(frozen=True)
class Action:
    """One command on one input root.

    name: for people; not part of the digest
    argv: the command line, as seen inside the sandbox
    toolchain: the tree that is the command's root file system
    inputs: absolute path in the sandbox -> artifact, read-only
    outputs: names below /out that must exist afterwards
    environment: added to BASE_ENVIRONMENT
    platform: properties added to BASE_PLATFORM, such as "not shareable"
    use_ccache: mount the shared compiler cache; it may change the time taken, never the result
    timeout: seconds; not part of the digest
    """

    name: str
    argv: tuple[str, ...]
    toolchain: TreeNode
    inputs: Mapping[str, Node]
    outputs: tuple[str, ...]
    environment: Mapping[str, str] = field(default_factory=dict)
    platform: Mapping[str, str] = field(default_factory=dict)
    use_ccache: bool = False
    timeout: int = 3600

    @property
    def full_environment(self) -> dict[str, str]:
        return BASE_ENVIRONMENT | dict(self.environment)

    def command(self) -> reapi.Command:
        platform = reapi.Platform(
            properties=[
                reapi.Platform.Property(name=name, value=value)
                for name, value in sorted({**BASE_PLATFORM, **self.platform}.items())
            ]
        )
        environment = sorted(self.full_environment.items())
        return reapi.Command(
            # The API runs commands in a directory from which outputs can be reached: the root.
            arguments=("env", "-C", "/build", *self.argv),
            environment_variables=[
                reapi.Command.EnvironmentVariable(name=name, value=value)
                for name, value in environment
            ],
            output_paths=sorted(f"out/{name}" for name in self.outputs),
            platform=platform,
        )

    def encode(self, root: bytes) -> "Encoded":
        """The action as messages. ``root``: the encoded Directory of the toolchain's root."""
        blobs: dict[Digest, bytes] = {}

        def save(data: bytes) -> Digest:
            digest = Digest.of_bytes(data)
            blobs[digest] = data
            return digest

        empty = save(b"")
        work = {path: TreeNode(empty, empty) for path in ("/build", "/out", "/tmp")}
        input_root = build_tree({**work, **self.inputs}, save, root)
        command = self.command()
        action = reapi.Action(
            command_digest=to_proto(save(encode(command))),
            input_root_digest=to_proto(input_root),
            platform=command.platform,
        )
        return Encoded(save(encode(action)), blobs)


@dataclass(frozen=True)
class Encoded:
    """An action's digest, and what a server needs of it besides the artifacts it names.

    blobs: the Action and Command messages, and those Directory messages of the input root that
        are not part of an artifact
    """

    digest: Digest
    blobs: Mapping[Digest, bytes]
