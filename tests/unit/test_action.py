"""An action's digest: what is in it, and what is not."""

from collections.abc import Callable
from dataclasses import replace

import pytest
from buildgrid.common.protos.build.bazel.remote.execution.v2 import remote_execution_pb2 as reapi

from thaw.action import BASE_PLATFORM, Action
from thaw.digest import Digest
from thaw.nodes import FileNode, TreeNode, encode, from_proto
from thaw.store import Store

# The digest below is that of `representative`. A change of it means that nobody's cache, local or
# remote, is valid any more: if that is meant, take the new value from the failing test's message.
GOLDEN = "24852630d0f1379ce58a071763f7ae547abb01d22418b879c4916390175a1e3f/227"


def toolchain(store: Store) -> TreeNode:
    digest = store.put_bytes(b"#!/bin/sh\n", executable=True)
    root = reapi.Directory(symlinks=[reapi.SymlinkNode(name="bin", target="usr/bin")])
    root.files.add(
        name="init", digest={"hash": digest.hash, "size_bytes": digest.size}, is_executable=True
    )
    tree = store.put_bytes(encode(reapi.Tree(root=root)))
    return TreeNode(store.put_bytes(encode(root)), tree)


def digest(action: Action, store: Store) -> Digest:
    return action.encode(store.read(action.toolchain.root)).digest


def representative(store: Store) -> Action:
    return Action(
        name="hello",
        argv=("sh", "/src/recipe/hello.sh", "--loud"),
        toolchain=toolchain(store),
        inputs={
            "/src/recipe/hello.sh": FileNode(store.put_bytes(b"echo hello > /out/greeting\n")),
            "/deps/library": TreeNode(store.put_bytes(b""), store.put_bytes(b"")),
        },
        outputs=("greeting", "manual"),
        environment={"CFLAGS": "-O2"},
        platform={"pool": "large"},
    )


@pytest.fixture
def action(store: Store) -> Action:
    return representative(store)


def test_the_digest_of_a_known_action_stays(store: Store, action: Action) -> None:
    assert str(digest(action, store)) == GOLDEN


@pytest.mark.parametrize(
    "change",
    [
        lambda action: replace(action, name="other"),
        lambda action: replace(action, timeout=1),
        lambda action: replace(action, use_ccache=True),
        lambda action: replace(action, outputs=("manual", "greeting")),
        lambda action: replace(action, inputs=dict(reversed(action.inputs.items()))),
    ],
    ids=["name", "time-out", "compiler cache", "order of outputs", "order of inputs"],
)
def test_what_cannot_change_a_result_is_not_in_the_digest(
    store: Store, action: Action, change: Callable[[Action], Action]
) -> None:
    assert digest(change(action), store) == digest(action, store)


OTHER = FileNode(Digest.of_bytes(b"other"))


@pytest.mark.parametrize(
    "change",
    [
        lambda a: replace(a, argv=(*a.argv, "--more")),
        lambda a: replace(a, argv=("sh", "/src/recipe/hello.sh --loud")),
        lambda a: replace(a, outputs=("greeting",)),
        lambda a: replace(a, environment={"CFLAGS": "-O3"}),
        lambda a: replace(a, platform={}),
        lambda a: replace(a, inputs={**a.inputs, "/src/more": OTHER}),
        lambda a: replace(a, inputs={**a.inputs, "/src/recipe/hello.sh": OTHER}),
        lambda a: replace(
            a,
            inputs={
                **a.inputs,
                "/src/recipe/hello.sh": replace(a.inputs["/src/recipe/hello.sh"], executable=True),
            },
        ),
    ],
    ids=[
        "an argument",
        "where an argument ends",
        "outputs",
        "environment",
        "platform",
        "one more input",
        "an input's content",
        "an input's executable bit",
    ],
)
def test_everything_a_command_can_see_is_in_the_digest(
    store: Store, action: Action, change: Callable[[Action], Action]
) -> None:
    assert digest(change(action), store) != digest(action, store)


def test_the_whole_toolchain_is_in_the_digest(store: Store, action: Action) -> None:
    empty = TreeNode(store.put_bytes(b""), store.put_bytes(b""))
    assert digest(replace(action, toolchain=empty), store) != digest(action, store)


def test_the_messages_are_as_a_remote_worker_wants_them(store: Store, action: Action) -> None:
    encoded = action.encode(store.read(action.toolchain.root))
    message = reapi.Action.FromString(encoded.blobs[encoded.digest])
    command = reapi.Command.FromString(encoded.blobs[from_proto(message.command_digest)])
    assert list(command.arguments)[:3] == ["env", "-C", "/build"]
    assert list(command.output_paths) == ["out/greeting", "out/manual"]
    names = [variable.name for variable in command.environment_variables]
    assert names == sorted(names)
    root = reapi.Directory.FromString(encoded.blobs[from_proto(message.input_root_digest)])
    assert [d.name for d in root.directories] == ["build", "deps", "out", "src", "tmp"]
    properties = {p.name: p.value for p in message.platform.properties}
    assert properties == {"pool": "large", **BASE_PLATFORM}
    assert command.platform == message.platform
    assert [file.name for file in root.files] == ["init"]
    assert [link.name for link in root.symlinks] == ["bin"]
