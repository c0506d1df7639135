"""Addresses and secrets: refused early, with the option's name, and never shown."""

from pathlib import Path

import pytest

from thaw import progress
from thaw.errors import ThawError
from thaw.remote.settings import RemoteSettings, parse

NONE: dict[str, str] = {}


def settings(address: str = "grpcs://cache.example", **options: object) -> RemoteSettings:
    options.setdefault("environment", NONE)
    return parse("--remote-cache", address, **options)  # type: ignore[arg-type]


def file(path: Path, text: str, mode: int = 0o600) -> str:
    path.write_text(text)
    path.chmod(mode)
    return str(path)


@pytest.mark.parametrize(
    ("address", "target", "tls"),
    [
        ("grpc://cache.example:8980", "cache.example:8980", False),
        ("grpc://cache.example", "cache.example:80", False),
        ("grpcs://cache.example", "cache.example:443", True),
        ("grpcs://[2001:db8::1]:8980", "[2001:db8::1]:8980", True),
        ("unix:/run/cache.sock", "unix:/run/cache.sock", False),
        ("unix:///run/cache.sock", "unix:/run/cache.sock", False),
    ],
)
def test_an_address_says_where_and_how(address: str, target: str, tls: bool) -> None:
    found = settings(address)
    assert (found.target, found.tls) == (target, tls)


@pytest.mark.parametrize(
    "address", ["http://cache", "cache:8980", "grpc://", "grpc://x:port", "unix:relative", ""]
)
def test_anything_else_is_refused_with_the_option_and_the_forms(address: str) -> None:
    with pytest.raises(ThawError, match=r"(?s)--remote-cache.*grpcs://HOST:PORT"):
        settings(address)


@pytest.mark.parametrize(
    "address",
    ["grpcs://me:s3cret@cache", "grpcs://s3cret@cache", "grpcs://cache?token=s3cret"],
)
def test_a_secret_in_an_address_is_refused_and_not_repeated(address: str) -> None:
    with pytest.raises(ThawError, match="--remote-header-file") as caught:
        settings(address)
    assert "s3cret" not in str(caught.value)


def test_a_path_in_an_address_is_taken_for_the_instance_it_may_be() -> None:
    with pytest.raises(ThawError, match=r"'team/main' is the instance, give it as"):
        settings("grpcs://cache/team/main")


@pytest.mark.parametrize("instance", ["a//b", "/a", "team/blobs", "uploads", "a\nb"])
def test_an_instance_name_must_not_look_like_a_resource(instance: str) -> None:
    with pytest.raises(ThawError, match="--remote-instance"):
        settings(instance=instance)


def test_headers_come_from_the_file_then_from_the_environment(tmp_path: Path) -> None:
    name = file(tmp_path / "headers", "# ours\nX-Team: red\nauthorization: Basic old\n\n")
    environment = {"THAW_REMOTE_HEADERS": "x-more: a: b", "THAW_REMOTE_TOKEN": "s3cret-token"}
    found = settings(header_file=name, environment=environment)
    assert dict(found.headers) == {
        "x-team": "red",
        "authorization": "Bearer s3cret-token",
        "x-more": "a: b",
    }


def test_no_representation_of_settings_has_a_secret(tmp_path: Path) -> None:
    key = file(tmp_path / "key", "-----BEGIN PRIVATE KEY-----\nc2VjcmV0\n")
    certificate = file(tmp_path / "certificate", "-----BEGIN CERTIFICATE-----\n")
    found = settings(
        environment={"THAW_REMOTE_TOKEN": "s3cret-token"},
        tls_client_certificate=certificate,
        tls_client_key=key,
    )
    assert "s3cret" not in f"{found}{found!r}"
    assert "BEGIN" not in f"{found}{found!r}"
    assert "s3cret-token" in found.secrets


@pytest.mark.parametrize(
    "line", ["s3cret", "authorization:", "bad name: s3cret", "x-bin: s3cret", "x: s3cret\x01\x02"]
)
def test_a_malformed_header_is_named_by_its_line_not_by_its_value(
    line: str, tmp_path: Path
) -> None:
    name = file(tmp_path / "headers", f"x-good: 1\n{line}\n")
    with pytest.raises(ThawError, match="headers, line 2") as caught:
        settings(header_file=name)
    assert "s3cret" not in str(caught.value)


def test_a_header_file_that_others_can_read_is_worth_a_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    said: list[str] = []
    monkeypatch.setattr(progress, "say", said.append)
    settings(header_file=file(tmp_path / "headers", "x: s3cret", 0o600))
    assert said == []
    settings(header_file=file(tmp_path / "headers", "x: s3cret", 0o644))
    assert len(said) == 1 and "chmod 600" in said[0] and "s3cret" not in said[0]


def test_a_token_is_not_sent_over_a_network_in_the_clear() -> None:
    environment = {"THAW_REMOTE_TOKEN": "s3cret-token"}
    with pytest.raises(ThawError, match=r"(?s)readable on the network.*grpcs://") as caught:
        settings("grpc://cache.example:8980", environment=environment)
    assert "s3cret" not in str(caught.value)
    for address in ("grpc://127.0.0.1:1", "grpc://[::1]:1", "grpc://localhost:1", "unix:/s"):
        assert settings(address, environment=environment).headers


@pytest.mark.parametrize("option", ["header_file", "tls_ca"])
def test_a_file_that_cannot_be_read_is_named_with_its_option(option: str, tmp_path: Path) -> None:
    with pytest.raises(ThawError, match=r"--(remote-header-file|tls-ca)=.*none: cannot be read"):
        settings(**{option: str(tmp_path / "none")})


def test_a_certificate_that_is_no_pem_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ThawError, match=r"--tls-ca=.*not a PEM file"):
        settings(tls_ca=file(tmp_path / "ca", "\x30\x82"))


def test_a_client_certificate_needs_its_key_and_the_other_way_round(tmp_path: Path) -> None:
    name = file(tmp_path / "x", "-----BEGIN X-----")
    with pytest.raises(ThawError, match="--tls-client-certificate: needs --tls-client-key"):
        settings(tls_client_certificate=name)
    with pytest.raises(ThawError, match="--tls-client-key: needs --tls-client-certificate"):
        settings(tls_client_key=name)


def test_certificates_for_a_connection_without_tls_are_a_mistake(tmp_path: Path) -> None:
    name = file(tmp_path / "x", "-----BEGIN X-----")
    with pytest.raises(ThawError, match="need a grpcs:// address"):
        settings("grpc://cache.example", tls_ca=name)


def test_a_time_out_of_nothing_is_refused() -> None:
    with pytest.raises(ThawError, match="--remote-timeout=0"):
        settings(timeout=0)
