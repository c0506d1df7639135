"""A remote cache that lies, forgets or has been tampered with: no false byte is ever used."""

from collections.abc import Callable

import pytest
from buildgrid.common.protos.build.bazel.remote.execution.v2 import remote_execution_pb2 as reapi
from hostile_server import HostileServer
from machines import (
    INDEX,
    STEPS,
    Machine,
    Published,
    asked_for,
    false_blobs,
    tree_blobs,
    warnings,
)

from thaw.digest import Digest
from thaw.nodes import FileNode, encode, from_proto, to_proto

Lie = Callable[[HostileServer, Published], None]


def result_of(name: str, server: HostileServer, published: Published) -> reapi.ActionResult:
    """A step's result, the server's own, to be changed."""
    key = published.actions[name].hash
    changed = reapi.ActionResult()
    changed.CopyFrom(server.results[key])
    server.results[key] = changed
    return changed


def site_tree(server: HostileServer, published: Published) -> Digest:
    (directory,) = server.results[published.actions["site"].hash].output_directories
    return from_proto(directory.tree_digest)


def is_right(machine: Machine, published: Published) -> None:
    """The build gave what an honest one gives, and nothing false is in the cache."""
    assert machine.index == published.index == f"{INDEX}SOME WORDS\n"
    assert machine.manifests() == published.manifests
    assert false_blobs(machine.cache) == []
    assert not (machine.top.parent / "escaped").exists()


# Lies


def other_bytes(server: HostileServer, published: Published) -> None:
    """Of the same size, for every file of the site."""
    for digest in tree_blobs(server, site_tree(server, published)):
        server.content[digest] = bytes(digest.size)


def fewer_bytes(server: HostileServer, published: Published) -> None:
    for digest in tree_blobs(server, site_tree(server, published)):
        server.content[digest] = server.blobs[digest][:-1]


def another_output(server: HostileServer, published: Published) -> None:
    result_of("site", server, published).output_files.add(path="out/more", digest=to_proto(EMPTY))


def no_output(server: HostileServer, published: Published) -> None:
    del result_of("site", server, published).output_directories[:]


def an_output_outside(server: HostileServer, published: Published) -> None:
    result_of("site", server, published).output_directories[0].path = "out/../../escaped"


def a_failure(server: HostileServer, published: Published) -> None:
    result_of("site", server, published).exit_code = 1


def a_digest_that_is_a_path(server: HostileServer, published: Published) -> None:
    digest = result_of("numbers", server, published).output_files[0].digest
    digest.hash = "../../../../escaped"


def more_than_any_disk(server: HostileServer, published: Published) -> None:
    """Another file, of an exabyte, where a megabyte would be."""
    result = result_of("site", server, published)
    message = reapi.Tree.FromString(server.blobs[site_tree(server, published)])
    message.root.files[0].digest.size_bytes = 1 << 60
    tell_tree(server, result, message)


def a_name_that_climbs(server: HostileServer, published: Published) -> None:
    result = result_of("site", server, published)
    message = reapi.Tree.FromString(server.blobs[site_tree(server, published)])
    message.root.files[0].name = "../../../escaped"
    tell_tree(server, result, message)


def a_tree_that_is_none(server: HostileServer, published: Published) -> None:
    result = result_of("site", server, published)
    result.output_directories[0].tree_digest.CopyFrom(to_proto(server.put(b"\xff no tree")))


def another_root(server: HostileServer, published: Published) -> None:
    """Beside the right tree, the root directory of another."""
    result = result_of("site", server, published)
    other = encode(reapi.Directory(symlinks=[reapi.SymlinkNode(name="x", target="y")]))
    result.execution_metadata.auxiliary_metadata[0].value = other


def tell_tree(server: HostileServer, result: reapi.ActionResult, message: reapi.Tree) -> None:
    """Give another tree as a result, with all that belongs to it."""
    tree, root = server.put(encode(message)), encode(message.root)
    result.output_directories[0].tree_digest.CopyFrom(to_proto(tree))
    result.execution_metadata.auxiliary_metadata[0].value = root


EMPTY = Digest.of_bytes(b"")
LIES = [
    other_bytes, fewer_bytes, another_output, no_output, an_output_outside, a_failure,
    a_digest_that_is_a_path, more_than_any_disk, a_name_that_climbs, a_tree_that_is_none,
    another_root,
]  # fmt: skip


@pytest.mark.parametrize(
    "zstd, lie",
    [*((False, lie) for lie in LIES), (True, other_bytes), (True, fewer_bytes)],
    ids=lambda value: getattr(value, "__name__", "zstd" if value else "plain"),
)
def test_a_lie_costs_one_line_and_the_build_is_right(
    zstd: bool, lie: Lie, machine: Machine, server: HostileServer, published: Published
) -> None:
    server.zstd = zstd
    lie(server, published)

    run = machine.build(f"--remote-cache={server.address}")

    assert run.code == 0, run.text
    (warning,) = warnings(run)
    assert warning.endswith(": going on without it")
    is_right(machine, published)
    # Nothing of it is remembered: without the server, all is right too.
    assert machine.build("-c").code == 0
    assert machine.build().code == 0
    is_right(machine, published)


def test_a_false_input_does_not_reach_the_step_that_needs_it(
    machine: Machine, server: HostileServer, published: Published
) -> None:
    """The manifest of ``sums`` is right; its bytes come when ``site`` must run, and are not."""
    option = f"--remote-cache={server.address}"
    machine.build(option, "sums")
    sums = machine.output("sums").outputs["r"]
    assert isinstance(sums, FileNode)
    server.content[sums.digest] = server.blobs[sums.digest].replace(b"total", b"tutti")
    del server.results[published.actions["site"].hash]

    run = machine.build(option)

    assert run.code == 0, run.text
    assert sums.digest in asked_for(server)
    assert len(warnings(run)) == 1
    is_right(machine, published)


# What was forgotten


def test_a_result_whose_blobs_are_gone_is_made_here(
    machine: Machine, server: HostileServer, published: Published
) -> None:
    for digest in tree_blobs(server, site_tree(server, published)):
        del server.blobs[digest]

    run = machine.build(f"--remote-cache={server.address}")

    assert run.code == 0, run.text
    assert warnings(run) == [], "forgetting is what caches do"
    is_right(machine, published)


def test_a_blob_lost_after_the_manifest_was_written_is_made_here(
    machine: Machine, server: HostileServer, published: Published
) -> None:
    """Nothing is out of date but ``site``, and what it needs is nowhere."""
    option = f"--remote-cache={server.address}"
    assert machine.build(option).built == set()
    server.blobs.clear()
    (machine.top / "words").write_text("other words\n")

    run = machine.build(option)

    assert run.code == 0, run.text
    assert run.built == {"site"}
    assert machine.index == f"{INDEX}OTHER WORDS\n"
    assert false_blobs(machine.cache) == []
    assert warnings(run) == []


def test_a_cache_that_was_lost_with_the_server_is_made_anew(
    machine: Machine, server: HostileServer, published: Published
) -> None:
    """``out/`` says that all is up to date; neither this machine nor the server has a byte."""
    option = f"--remote-cache={server.address}"
    machine.build(option)
    machine.forget_cache()
    server.blobs.clear()
    server.results.clear()

    run = machine.build(option)

    assert run.code == 0, run.text
    assert run.built == STEPS | {"toolchain small"}
    is_right(machine, published)


def test_a_server_that_forgot_is_given_it_again(
    machine: Machine, server: HostileServer, published: Published
) -> None:
    """Its action cache is whole, its storage is empty."""
    server.blobs.clear()

    run = machine.build(f"--remote-cache={server.address}", "--remote-upload")

    assert run.code == 0, run.text
    needed = tree_blobs(server, site_tree(server, published))
    assert needed <= server.blobs.keys()


# What is damaged here


def damage(machine: Machine, digest: Digest) -> None:
    """Turn one bit, in place: name, size and times stay."""
    blob = machine.blob(digest)
    blob.chmod(0o644)
    data = bytearray(blob.read_bytes())
    data[len(data) // 2] ^= 1
    blob.write_bytes(data)
    blob.chmod(0o444)


def test_what_is_damaged_here_is_fetched_rather_than_made_again(
    machine: Machine, server: HostileServer, published: Published
) -> None:
    machine.build()
    sums = machine.output("sums").outputs["r"]
    assert isinstance(sums, FileNode)
    damage(machine, sums.digest)
    (machine.top / "words").write_text("other words\n")

    run = machine.build(f"--remote-cache={server.address}")

    assert run.code == 0, run.text
    assert run.built == {"site"}
    assert machine.index == f"{INDEX}OTHER WORDS\n"
    assert asked_for(server) == {sums.digest}
    assert false_blobs(machine.cache) == []


@pytest.mark.parametrize("name", ["numbers", "tree", "sums"])
def test_what_is_damaged_here_is_not_given_to_others(
    name: str, machine: Machine, empty_server: HostileServer, published: Published
) -> None:
    machine.build()
    machine.forget_out()
    node = machine_output(published, name)
    damage(machine, node)

    run = machine.build(f"--remote-cache={empty_server.address}", "--remote-upload")

    assert run.code == 0, run.text
    assert "[damage]" in run.text
    assert all(Digest.of_bytes(data) == key for key, data in empty_server.blobs.items())
    assert empty_server.results.keys() == published.results.keys()
    assert node in empty_server.blobs, "whole, as it was made again"
    is_right(machine, published)


def machine_output(published: Published, name: str) -> Digest:
    """The largest blob that a step made."""
    result = published.results[published.actions[name].hash]
    for file in result.output_files:
        return from_proto(file.digest)
    (directory,) = result.output_directories
    tree = reapi.Tree.FromString(published.blobs[from_proto(directory.tree_digest)])
    files = [file for part in (tree.root, *tree.children) for file in part.files]
    return max((from_proto(file.digest) for file in files), key=lambda digest: digest.size)
