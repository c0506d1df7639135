"""Certificates, tokens and sockets: who may speak to whom, and what is never shown."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import grpc
import pytest
import trustme
from hostile_server import HostileServer
from remote_client import Client

from thaw.digest import Digest
from thaw.remote.settings import parse

ACTION = Digest.of_bytes(b"action")
TOKEN = "s3cret-token-of-ours"


@dataclass
class Certificates:
    """Files: the server's authority, a client's certificate and key, a stranger's authority."""

    ca: str
    certificate: str
    key: str
    stranger: str
    server: grpc.ServerCredentials
    strict: grpc.ServerCredentials  # wants a client certificate


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    top = tmp_path_factory.mktemp("tls")
    authority = trustme.CA()
    authority.cert_pem.write_to_path(top / "ca.pem")
    trustme.CA().cert_pem.write_to_path(top / "stranger.pem")
    mine = authority.issue_cert("build@example.org")
    mine.private_key_pem.write_to_path(top / "key.pem")
    (top / "key.pem").chmod(0o600)
    mine.cert_chain_pems[0].write_to_path(top / "certificate.pem")
    theirs = authority.issue_cert("127.0.0.1")
    pair = (theirs.private_key_pem.bytes(), theirs.cert_chain_pems[0].bytes())
    return Certificates(
        ca=str(top / "ca.pem"),
        certificate=str(top / "certificate.pem"),
        key=str(top / "key.pem"),
        stranger=str(top / "stranger.pem"),
        server=grpc.ssl_server_credentials([pair]),
        strict=grpc.ssl_server_credentials([pair], authority.cert_pem.bytes(), True),
    )


@pytest.fixture
def tls_server(certificates: Certificates) -> Iterator[HostileServer]:
    with HostileServer(certificates.server) as server:
        yield server


def works(client: Client) -> bool:
    client.remote.get_result(ACTION, "kernel")
    client.remote.close()
    return not client.remote.offline


def test_a_server_with_a_certificate_of_ones_own_authority_is_trusted(
    tls_server: HostileServer, certificates: Certificates, tmp_path: Path
) -> None:
    settings = parse("--remote-cache", tls_server.address, tls_ca=certificates.ca)
    assert works(Client(settings, tmp_path))


def test_any_other_server_is_not(
    tls_server: HostileServer, certificates: Certificates, tmp_path: Path, said: list[str]
) -> None:
    for ca in ("", certificates.stranger):
        settings = parse("--remote-cache", tls_server.address, timeout=2, tls_ca=ca)
        assert not works(Client(settings, tmp_path))
    assert not tls_server.calls
    assert len(said) == 2 and all("its certificate is not trusted: " in line for line in said)


def test_a_token_never_reaches_a_server_that_is_not_trusted(
    tls_server: HostileServer, certificates: Certificates, tmp_path: Path, said: list[str]
) -> None:
    settings = parse(
        "--remote-cache",
        tls_server.address,
        timeout=2,
        tls_ca=certificates.stranger,
        environment={"THAW_REMOTE_TOKEN": TOKEN},
    )
    assert not works(Client(settings, tmp_path))
    assert not tls_server.calls


def test_a_client_certificate_opens_a_server_that_wants_one(
    certificates: Certificates, tmp_path: Path, said: list[str]
) -> None:
    with HostileServer(certificates.strict) as server:
        settings = parse("--remote-cache", server.address, timeout=2, tls_ca=certificates.ca)
        assert not works(Client(settings, tmp_path))
        settings = parse(
            "--remote-cache",
            server.address,
            tls_ca=certificates.ca,
            tls_client_certificate=certificates.certificate,
            tls_client_key=certificates.key,
        )
        assert works(Client(settings, tmp_path))
    assert len(said) == 1


def test_plain_words_to_a_server_that_speaks_tls_cost_one_line(
    tls_server: HostileServer, tmp_path: Path, said: list[str]
) -> None:
    address = tls_server.address.replace("grpcs:", "grpc:")
    assert not works(Client(parse("--remote-cache", address, timeout=2), tmp_path))
    assert len(said) == 1


def test_a_token_goes_with_every_call(
    server: HostileServer, tmp_path: Path, said: list[str]
) -> None:
    server.headers = {"authorization": f"Bearer {TOKEN}"}
    environment = {"THAW_REMOTE_TOKEN": TOKEN}
    client = Client(parse("--remote-cache", server.address, environment=environment), tmp_path)
    blobs = [b"small", bytes(2 << 20)]
    assert client.upload(*blobs)
    assert set(client.fetch(*server.blobs).values()) == set(blobs)
    assert works(client)
    assert said == []


def test_a_server_that_repeats_the_token_does_not_get_it_shown(
    server: HostileServer, tmp_path: Path, said: list[str]
) -> None:
    server.fail(
        "GetCapabilities",
        grpc.StatusCode.UNAUTHENTICATED,
        said=f"token {TOKEN} has expired; header was 'Bearer {TOKEN}'",
    )
    environment = {"THAW_REMOTE_TOKEN": TOKEN}
    client = Client(parse("--remote-cache", server.address, environment=environment), tmp_path)
    assert not works(client)
    assert len(said) == 1 and "has expired" in said[0] and TOKEN not in said[0]


def test_a_server_hears_who_calls_and_about_which_action(
    server: HostileServer, client: Client
) -> None:
    from buildgrid.common.protos.build.bazel.remote.execution.v2 import (
        remote_execution_pb2 as reapi,
    )

    client.remote.get_result(ACTION, "kernel")
    sent = server.metadata["build.bazel.remote.execution.v2.requestmetadata-bin"]
    assert isinstance(sent, bytes)
    metadata = reapi.RequestMetadata.FromString(sent)
    assert metadata.tool_details.tool_name == "thaw"
    assert metadata.action_id == ACTION.hash
    assert metadata.tool_invocation_id


def test_a_socket_of_this_machine_is_an_address_too(tmp_path: Path, said: list[str]) -> None:
    with HostileServer(unix=str(tmp_path / "socket")) as server:
        client = Client(parse("--remote-cache", server.address), tmp_path)
        assert works(client)
        assert server.calls["GetActionResult"] == 1
