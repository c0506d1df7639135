"""Our client against servers that others wrote: blobs, results, an execution."""

import os
import re
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from buildgrid.common.protos.build.bazel.remote.execution.v2 import remote_execution_pb2 as reapi
from hostile_server import until
from remote_client import MEGABYTE, Client, noise
from remote_servers import Server, Tls, buildgrid, casd
from rig import Tools

from thaw import progress
from thaw.digest import Digest
from thaw.nodes import FileNode, Node, build_tree, encode, to_proto
from thaw.remote import roots
from thaw.remote.settings import RemoteSettings, parse
from thaw.store import MissingBlob

SHELL = "/bin/sh"
BLOBS = [
    b"x",
    bytes(9 * MEGABYTE),
    noise(20 * MEGABYTE),
    *(noise(999 * i, i) for i in range(1, 200)),
]


def settings(server: Server) -> RemoteSettings:
    tls = server.tls
    return parse(
        "--remote-cache",
        server.url,
        instance=server.instance,
        tls_ca=str(tls.ca) if tls else "",
        tls_client_certificate=str(tls.client_certificate) if tls else "",
        tls_client_key=str(tls.client_key) if tls else "",
        environment={"THAW_REMOTE_TOKEN": server.token} if server.token else {},
    )


@pytest.fixture(params=["casd", "buildgrid"], scope="module")
def server(
    request: pytest.FixtureRequest, tools: Tools, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Server]:
    """buildbox-casd as it is; BuildGrid with TLS, client certificates, a token, an instance."""
    top = tmp_path_factory.mktemp(request.param)
    with ExitStack() as stack:
        if request.param == "casd":
            yield stack.enter_context(casd(top / "casd", tools.bwrap))
        else:
            tls = Tls.make(top / "tls")
            tls.client_key.chmod(0o600)
            made = buildgrid(top / "bg", tools.bwrap, tls=tls, token=True, instance="main")
            yield stack.enter_context(made)


@pytest.fixture
def client(server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Client]:
    said: list[str] = []
    monkeypatch.setattr(progress, "say", said.append)
    client = Client(settings(server), tmp_path)
    yield client
    client.remote.close()
    assert said == []


def test_blobs_go_there_and_come_back_the_same(client: Client) -> None:
    blobs = {Digest.of_bytes(data): data for data in BLOBS}
    assert client.remote.missing(blobs) == set(blobs)
    assert client.upload(*BLOBS)
    assert client.remote.missing(blobs) == set()
    assert client.fetch(*blobs) == blobs
    assert client.remote.traffic.downloaded == sum(map(len, BLOBS))


def test_a_blob_that_is_not_there_is_a_miss(client: Client) -> None:
    for data in (b"never", noise(2 * MEGABYTE, 77)):
        with pytest.raises(MissingBlob):
            client.fetch(Digest.of_bytes(data))
        with pytest.raises(MissingBlob):
            client.remote.read(Digest.of_bytes(data))


def test_a_result_comes_back_with_the_roots_of_its_trees(client: Client) -> None:
    command, file = encode(reapi.Command(arguments=["x"])), b"a file"
    root = reapi.Directory()
    root.files.add(name="f", digest=to_proto(Digest.of_bytes(file)))
    tree = encode(reapi.Tree(root=root))
    action = encode(
        reapi.Action(
            command_digest=to_proto(Digest.of_bytes(command)),
            input_root_digest=to_proto(Digest.of_bytes(b"")),
        )
    )
    result = reapi.ActionResult()
    result.output_directories.add(path="out/d", tree_digest=to_proto(Digest.of_bytes(tree)))
    result = roots.with_roots(result, {Digest.of_bytes(tree): encode(root)})
    name = Digest.of_bytes(action)
    assert client.remote.get_result(name, "test") is None
    assert client.upload(command, file, tree, encode(root), action, b"")
    client.remote.put_result(name, result)
    found = client.remote.get_result(name, "test", ["out/d"])
    assert found is not None
    assert roots.roots_of(found) == {Digest.of_bytes(tree): encode(root)}


def shell() -> dict[str, bytes]:
    """A root file system that is this machine's shell and its libraries, and nothing else."""
    listed = subprocess.run(["ldd", SHELL], capture_output=True, text=True, check=True).stdout
    return {path: Path(path).read_bytes() for path in [SHELL, *re.findall(r"/\S+", listed)]}


def run(client: Client, script: str) -> reapi.ExecuteResponse:
    blobs = [b""]

    def save(data: bytes) -> Digest:
        blobs.append(data)
        return Digest.of_bytes(data)

    files: dict[str, Node] = {path: FileNode(save(data), True) for path, data in shell().items()}
    root = build_tree(files, save)
    platform = reapi.Platform()
    for name, value in (("ISA", "x86-64"), ("OSFamily", "linux")):
        platform.properties.add(name=name, value=value)
    command = reapi.Command(
        arguments=[SHELL, "-c", script], output_paths=["out"], platform=platform
    )
    command.environment_variables.add(name="SALT", value=os.urandom(8).hex())
    action = reapi.Action(
        command_digest=to_proto(save(encode(command))),
        input_root_digest=to_proto(root),
        platform=platform,
    )
    digest = save(encode(action))
    assert client.upload(*blobs)
    stages: list[str] = []
    response = client.remote.execute(digest, "test", False, stages.append)
    assert response is not None and stages[-1] == "completed"
    return response


def test_an_action_runs_there(client: Client) -> None:
    response = run(client, "echo hello; echo made > out")
    assert response.result.exit_code == 0
    (file,) = response.result.output_files
    assert client.fetch(Digest.of_bytes(b"made\n")) and file.path == "out"
    log = response.result.stdout_digest
    assert client.remote.read(Digest(log.hash, log.size_bytes)) == b"hello\n"


def test_an_action_that_fails_there_has_a_log(client: Client) -> None:
    response = run(client, "echo wrong >&2; exit 7")
    assert response.result.exit_code == 7
    log = response.result.stderr_digest
    assert client.remote.read(Digest(log.hash, log.size_bytes)) == b"wrong\n"


def test_transfers_go_on_when_the_server_is_killed_and_comes_back(
    tools: Tools, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    said: list[str] = []
    monkeypatch.setattr(progress, "say", said.append)
    data = noise(MEGABYTE) * 100
    digest = Digest.of_bytes(data)
    (tmp_path / "temporary").mkdir()
    with casd(tmp_path / "casd", tools.bwrap) as server:
        client = Client(settings(server), tmp_path / "temporary")
        traffic = client.remote.traffic

        def kill_when(has_begun: Callable[[], bool]) -> threading.Thread:
            def kill() -> None:
                until(has_begun)
                server.processes.kill("casd")
                server.processes.restart("casd")

            thread = threading.Thread(target=kill)
            thread.start()
            return thread

        killer = kill_when(lambda: traffic.sent > 20 * MEGABYTE)
        assert client.upload(data)
        killer.join()
        assert traffic.sent > 120 * MEGABYTE  # once more from the beginning
        killer = kill_when(lambda: traffic.received > 20 * MEGABYTE)
        assert client.fetch(digest) == {digest: data}
        killer.join()
        assert traffic.received < 101 * MEGABYTE  # and this went on
        assert said == []
        server.processes.kill("casd")
        assert client.remote.get_result(digest, "test") is None
        assert client.remote.offline and len(said) == 1 and "cannot be reached" in said[0]
