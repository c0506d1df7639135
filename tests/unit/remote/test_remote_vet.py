"""What a server says is looked at first; a tree bomb costs no more than its bytes."""

import pytest
from buildgrid.common.protos.build.bazel.remote.execution.v2 import remote_execution_pb2 as reapi
from google.protobuf.any_pb2 import Any

from thaw.digest import Digest
from thaw.nodes import encode, to_proto
from thaw.remote import roots, vet
from thaw.remote.failure import Lie

DATA = to_proto(Digest.of_bytes(b"data"))
BAD_DIGESTS = [
    reapi.Digest(hash="", size_bytes=0),
    reapi.Digest(hash="../" + "0" * 61, size_bytes=1),
    reapi.Digest(hash="A" * 64, size_bytes=1),
    reapi.Digest(hash="0" * 64 + "\n", size_bytes=1),
    reapi.Digest(hash="0" * 64, size_bytes=-1),
]


def result(*files: str, directories: tuple[str, ...] = ()) -> reapi.ActionResult:
    answer = reapi.ActionResult()
    for path in files:
        answer.output_files.add(path=path, digest=DATA)
    for path in directories:
        answer.output_directories.add(path=path, tree_digest=DATA)
    return answer


def directory(**children: reapi.Directory) -> reapi.Directory:
    message = reapi.Directory()
    for name, child in children.items():
        message.directories.add(name=name, digest=to_proto(Digest.of_bytes(encode(child))))
    return message


def tree(root: reapi.Directory, *children: reapi.Directory) -> bytes:
    return encode(reapi.Tree(root=root, children=children))


def test_a_result_with_exactly_the_promised_outputs_is_believed() -> None:
    vet.check_result(result("out/a", directories=("out/b",)), ["out/b", "out/a"])


@pytest.mark.parametrize(
    "answer",
    [
        result(),
        result("out/a"),
        result("out/a", "out/b", "out/c"),
        result("out/a", "out/a", "out/b"),
        result("out/a", "out/b", directories=("out/b",)),
        result("out/a", "out/../b"),
    ],
)
def test_a_result_with_other_outputs_is_a_lie(answer: reapi.ActionResult) -> None:
    with pytest.raises(Lie, match="other outputs"):
        vet.check_result(answer, ["out/a", "out/b"])


def test_the_result_of_a_failed_action_is_refused() -> None:
    answer = result("out/a")
    answer.exit_code = 1
    with pytest.raises(Lie, match="exit code 1"):
        vet.check_result(answer, ["out/a"])


def test_an_output_that_is_a_link_is_refused() -> None:
    answer = reapi.ActionResult()
    answer.output_symlinks.add(path="out/a", target="/etc/passwd")
    with pytest.raises(Lie, match="symbolic link"):
        vet.check_result(answer, ["out/a"])


@pytest.mark.parametrize("bad", BAD_DIGESTS)
def test_a_malformed_digest_is_a_lie_wherever_it_stands(bad: reapi.Digest) -> None:
    files = reapi.ActionResult()
    files.output_files.add(path="out/a", digest=bad)
    trees = reapi.ActionResult()
    trees.output_directories.add(path="out/a", tree_digest=bad)
    for answer in (files, trees):
        with pytest.raises(Lie, match="digest"):
            vet.check_result(answer, ["out/a"])
    message = reapi.Directory()
    message.files.add(name="a", digest=bad)
    with pytest.raises(Lie, match="digest"):
        vet.check_tree(tree(message))


@pytest.mark.parametrize("name", ["", ".", "..", "a/b", "/etc", "a\0b"])
def test_a_name_that_leaves_its_directory_is_a_lie(name: str) -> None:
    files, links, directories = reapi.Directory(), reapi.Directory(), directory()
    files.files.add(name=name, digest=DATA)
    links.symlinks.add(name=name, target="x")
    directories.directories.add(name=name, digest=to_proto(Digest.of_bytes(b"")))
    for message in (files, links, directories):
        with pytest.raises(Lie, match="with the name"):
            vet.check_tree(tree(message, reapi.Directory()))
        with pytest.raises(Lie, match="with the name"):
            vet.check_tree(tree(reapi.Directory(), message))


def test_a_name_given_twice_is_a_lie() -> None:
    message = reapi.Directory()
    message.files.add(name="a", digest=DATA)
    message.symlinks.add(name="a", target="/etc")
    with pytest.raises(Lie, match="twice"):
        vet.check_tree(tree(message))


def test_a_tree_must_bring_all_its_directories() -> None:
    leaf = reapi.Directory()
    vet.check_tree(tree(directory(a=leaf), leaf))
    with pytest.raises(Lie, match="without its directory 'a'"):
        vet.check_tree(tree(directory(a=leaf)))


def test_a_few_bytes_that_stand_for_an_astronomic_tree_are_refused_at_once() -> None:
    levels = [reapi.Directory()]
    for _ in range(60):
        levels.append(directory(a=levels[-1], b=levels[-1]))
    with pytest.raises(Lie, match="more than"):
        vet.check_tree(tree(levels[-1], *levels[:-1]))


def test_a_tree_too_deep_to_unpack_is_refused() -> None:
    levels = [reapi.Directory()]
    for _ in range(5000):
        levels.append(directory(a=levels[-1]))
    with pytest.raises(Lie, match=r"deeper|levels"):
        vet.check_tree(tree(levels[-1], *levels[:-1]))


def test_garbage_is_no_tree() -> None:
    with pytest.raises(Lie, match="can't be read"):
        vet.check_tree(b"\xff\xff\xff")


# Root directories in results

ROOT = encode(directory(a=reapi.Directory()))
OTHER = encode(directory(b=reapi.Directory()))
TREES = (Digest.of_bytes(b"tree 1"), Digest.of_bytes(b"tree 2"))


def two_trees() -> reapi.ActionResult:
    answer = reapi.ActionResult()
    for name, digest in zip("ab", TREES, strict=True):
        answer.output_directories.add(path=f"out/{name}", tree_digest=to_proto(digest))
    return answer


def test_a_result_carries_the_roots_of_its_trees() -> None:
    given = {TREES[0]: ROOT, TREES[1]: OTHER}
    answer = roots.with_roots(two_trees(), given)
    assert roots.roots_of(reapi.ActionResult.FromString(encode(answer))) == given
    assert roots.with_roots(answer, given) == answer
    assert roots.roots_of(two_trees()) == {}


def test_what_others_put_beside_the_roots_stays_and_is_ignored() -> None:
    answer = two_trees()
    answer.execution_metadata.auxiliary_metadata.add(type_url="x/y", value=b"\xff")
    answer = roots.with_roots(answer, {TREES[0]: ROOT, TREES[1]: OTHER})
    assert len(answer.execution_metadata.auxiliary_metadata) == 3
    assert roots.roots_of(answer) == {TREES[0]: ROOT, TREES[1]: OTHER}


@pytest.mark.parametrize("data", [b"\xff", b"", encode(directory(**{"..": reapi.Directory()}))])
def test_roots_that_are_garbage_count_for_nothing(data: bytes) -> None:
    answer = two_trees()
    answer.execution_metadata.auxiliary_metadata.append(Any(type_url=roots.TYPE, value=ROOT))
    if data:
        answer.execution_metadata.auxiliary_metadata.append(Any(type_url=roots.TYPE, value=data))
    assert roots.roots_of(answer) == {}


def test_the_root_digest_of_newer_servers_is_read_and_contradictions_are_not_believed() -> None:
    answer = roots.with_roots(two_trees(), {TREES[0]: ROOT, TREES[1]: OTHER})
    digest = encode(to_proto(Digest.of_bytes(ROOT)))
    field = bytes([5 << 3 | 2, len(digest)]) + digest
    answer.output_directories[0].MergeFromString(field)
    assert roots.root_digests_of(answer) == {TREES[0]: Digest.of_bytes(ROOT)}
    assert roots.roots_of(answer)
    answer.output_directories[1].MergeFromString(field)
    assert roots.roots_of(answer) == {}


def test_a_root_digest_that_is_garbage_counts_for_nothing() -> None:
    answer = two_trees()
    answer.output_directories[0].MergeFromString(bytes([5 << 3 | 2, 1, 0xFF]))
    answer.output_directories[1].MergeFromString(bytes([5 << 3, 7]))
    assert roots.root_digests_of(answer) == {}
