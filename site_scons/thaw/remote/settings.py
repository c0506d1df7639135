"""Where a remote service is and how to speak to it: options, checked, as pure data."""

import ipaddress
import os
import re
import stat
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import SplitResult, urlsplit

from thaw import progress
from thaw.errors import ThawError

TOKEN = "THAW_REMOTE_TOKEN"
HEADERS = "THAW_REMOTE_HEADERS"
FORMS = "grpc://HOST:PORT, grpcs://HOST:PORT or unix:/PATH"
PORTS = {"grpc": 80, "grpcs": 443}
# Words that have a meaning in resource names (API: ByteStream). An instance must not have them.
RESERVED = {
    "blobs", "uploads", "actions", "actionResults", "operations", "capabilities",
    "compressed-blobs",
}  # fmt: skip


@dataclass(frozen=True)
class RemoteSettings:
    """One server. Secrets are in no ``repr``.

    address: as the user wrote it, for messages
    target: what gRPC connects to
    timeout: seconds that a server may be silent
    headers: sent with every call
    tls_ca, tls_certificate, tls_key: PEM, or empty
    """

    address: str
    target: str
    tls: bool = False
    local: bool = False
    instance: str = ""
    timeout: int = 60
    headers: tuple[tuple[str, str], ...] = field(default=(), repr=False)
    tls_ca: bytes = field(default=b"", repr=False)
    tls_certificate: bytes = field(default=b"", repr=False)
    tls_key: bytes = field(default=b"", repr=False)

    @property
    def secrets(self) -> tuple[str, ...]:
        """What must never be shown: header values, and the parts of ``Bearer <token>``."""
        values = [value for _, value in self.headers]
        parts = [part for value in values for part in value.split() if len(part) > 6]
        return tuple(sorted({*values, *parts}, key=len, reverse=True))


def parse(
    option: str,
    address: str,
    *,
    instance: str = "",
    timeout: int = 60,
    header_file: str = "",
    tls_ca: str = "",
    tls_client_certificate: str = "",
    tls_client_key: str = "",
    environment: Mapping[str, str] = os.environ,
) -> RemoteSettings:
    """Settings from what a user gave. ``option`` names the address in errors.

    Raises ThawError naming the option and the cause, never a secret.
    """
    target, tls, local = _target(option, address)
    _check_instance(instance)
    if timeout < 1:
        raise ThawError(f"--remote-timeout={timeout}: must be 1 second or more")
    if bool(tls_client_certificate) != bool(tls_client_key):
        given, other = ("certificate", "key")[:: 1 if tls_client_certificate else -1]
        raise ThawError(f"--tls-client-{given}: needs --tls-client-{other} too")
    if not (tls or local) and (tls_ca or tls_client_certificate):
        raise ThawError(f"{option}={address}: --tls-* options need a grpcs:// address")
    headers = _headers(header_file, environment)
    if headers and not (tls or local):
        raise ThawError(
            f"{option}={address}: a header or token would be readable on the network",
            remedy="use grpcs://",
        )
    return RemoteSettings(
        address=address,
        target=target,
        tls=tls,
        local=local,
        instance=instance,
        timeout=timeout,
        headers=tuple(headers.items()),
        tls_ca=_pem("--tls-ca", tls_ca),
        tls_certificate=_pem("--tls-client-certificate", tls_client_certificate),
        tls_key=_pem("--tls-client-key", tls_client_key, secret=True),
    )


def _target(option: str, address: str) -> tuple[str, bool, bool]:
    """gRPC's target, whether it speaks TLS, whether it is this machine."""
    if address.startswith("unix:/"):
        return "unix:/" + address.removeprefix("unix:").lstrip("/"), False, True
    try:
        url: SplitResult = urlsplit(address)
        host, port = url.hostname or "", url.port
    except ValueError as error:
        raise ThawError(f"{option}: not an address: {error}", remedy=f"give {FORMS}") from error
    if "@" in address or url.query or url.fragment:
        # The address itself is not shown: it holds the secret.
        raise ThawError(
            f"{option}: no user, password or token in an address: every process list shows it",
            remedy=f"use --remote-header-file=FILE or the environment variable {TOKEN}",
        )
    if url.scheme not in PORTS or not host:
        raise ThawError(f"{option}={address}: not an address", remedy=f"give {FORMS}")
    if url.path.strip("/"):
        raise ThawError(
            f"{option}={address}: has a path",
            remedy=f"if {url.path.strip('/')!r} is the instance, give it as --remote-instance",
        )
    name = f"[{host}]" if ":" in host else host
    return f"{name}:{port or PORTS[url.scheme]}", url.scheme == "grpcs", _is_loopback(host)


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _check_instance(instance: str) -> None:
    parts = instance.split("/") if instance else []
    if not all(parts) or RESERVED & set(parts) or not instance.isprintable():
        raise ThawError(f"--remote-instance={instance!r}: not an instance name")


def _headers(file: str, environment: Mapping[str, str]) -> dict[str, str]:
    headers: dict[str, str] = {}
    if file:
        text = _read("--remote-header-file", file, secret=True).decode(errors="replace")
        headers |= _lines(f"--remote-header-file={file}", text)
    headers |= _lines(HEADERS, environment.get(HEADERS, ""))
    if environment.get(TOKEN):
        headers |= _lines(TOKEN, f"authorization: Bearer {environment[TOKEN].strip()}")
    return headers


def _lines(source: str, text: str) -> dict[str, str]:
    """Headers of ``Name: value`` lines. Errors say where, never what."""
    headers: dict[str, str] = {}
    for number, line in enumerate(text.splitlines(), 1):
        if not line.strip() or line.startswith("#"):
            continue
        name, colon, value = line.partition(":")
        name, value = name.strip().lower(), value.strip()
        if not colon or not value or re.fullmatch(r"[0-9a-z_.-]+", name) is None:
            raise ThawError(f"{source}, line {number}: not of the form 'Name: value'")
        if name.endswith("-bin") or name.startswith("grpc-"):
            raise ThawError(f"{source}, line {number}: a header of gRPC's own cannot be set")
        if not (value.isascii() and value.isprintable()):
            raise ThawError(f"{source}, line {number}: the value is not plain ASCII")
        headers[name] = value
    return headers


def _pem(option: str, file: str, *, secret: bool = False) -> bytes:
    if not file:
        return b""
    data = _read(option, file, secret=secret)
    if b"-----BEGIN " not in data:
        raise ThawError(f"{option}={file}: not a PEM file")
    return data


def _read(option: str, file: str, *, secret: bool) -> bytes:
    path = Path(file).expanduser()
    try:
        data = path.read_bytes()
        if secret and path.stat().st_mode & (stat.S_IRGRP | stat.S_IROTH):
            progress.say(f"[remote] {file}: other users can read it: chmod 600 is better")
    except OSError as error:
        raise ThawError(f"{option}={file}: cannot be read: {error.strerror}") from error
    return data
