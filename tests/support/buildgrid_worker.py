"""Stands in for buildbox-worker, with those of its options that tests use.

buildbox-worker is in no package registry that pins versions, only in Debian's coming release. It
takes leases of BuildGrid's Bots service and gives them to buildbox-run, which stages input roots,
runs commands and uploads outputs through a buildbox-casd, a proxy of BuildGrid's CAS. The protocol
is Google's Remote Workers API, v1test2 (``google/devtools/remoteworkers/v1test2/bots.proto``): the
bot opens a session, posts what it knows of its leases, and gets back what the server wants.

Each job has a session of its own with room for one lease, in a thread of its own.
"""

import argparse
import subprocess
import sys
import tempfile
import threading
import time
from dataclasses import dataclass
from pathlib import Path

import grpc
from buildgrid.common.protos.build.bazel.remote.execution.v2 import remote_execution_pb2 as reapi
from buildgrid.common.protos.google.devtools.remoteworkers.v1test2 import (
    bots_pb2,
    bots_pb2_grpc,
    worker_pb2,
)
from buildgrid.common.protos.google.rpc import code_pb2, status_pb2

POLL = 8  # seconds that the server may hold an update back, waiting for work
HEARTBEAT = 0.5  # seconds between updates while a command runs


def channel(options: argparse.Namespace) -> grpc.Channel:
    address = options.bots_remote.partition("://")[2]
    if not options.bots_server_cert:
        return grpc.insecure_channel(address)
    files = (options.bots_server_cert, options.bots_client_key, options.bots_client_cert)
    read = (path.read_bytes() if path else None for path in files)
    return grpc.secure_channel(address, grpc.ssl_channel_credentials(*read))


@dataclass(frozen=True)
class Runner:
    """How commands are run: buildbox-run, and the casd that it is to use."""

    casd: str
    program: str
    directory: Path

    def start(self, lease: bots_pb2.Lease) -> subprocess.Popen[bytes]:
        message = reapi.Action()
        assert lease.payload.Unpack(message), f"not an Action: {lease.payload.type_url}"
        action = self.directory / f"{lease.id}.action"
        action.write_bytes(message.SerializeToString())
        return subprocess.Popen(
            [
                self.program,
                f"--remote={self.casd}",
                f"--action={action}",
                f"--action-result={self._result(lease)}",
            ]
        )

    def _result(self, lease: bots_pb2.Lease) -> Path:
        return self.directory / f"{lease.id}.result"

    def report(self, lease: bots_pb2.Lease, worker: str) -> None:
        """Put what buildbox-run left behind into the lease: a result, an error, or both."""
        path = self._result(lease)
        error = path.with_name(path.name + ".error-status")
        if error.exists():
            lease.status.ParseFromString(error.read_bytes())
        elif not path.exists():
            message = "buildbox-run left neither a result nor an error"
            lease.status.CopyFrom(status_pb2.Status(code=code_pb2.INTERNAL, message=message))
        if path.exists():
            result = reapi.ActionResult.FromString(path.read_bytes())
            result.execution_metadata.worker = worker
            lease.result.Pack(result)
        lease.state = bots_pb2.COMPLETED


class Slot:
    """One session, with at most one lease at a time."""

    def __init__(
        self,
        bots: bots_pb2_grpc.BotsStub,
        runner: Runner,
        options: argparse.Namespace,
        number: int,
    ) -> None:
        self.bots = bots
        self.runner = runner
        self.instance = options.bots_instance
        self.metadata: tuple[tuple[str, str], ...] = ()
        if options.bots_access_token:
            self.metadata = (("authorization", f"Bearer {options.bots_access_token.read_text()}"),)
        properties = []
        for pair in options.platform:
            key, _, value = pair.partition("=")
            properties.append(worker_pb2.Device.Property(key=key, value=value))
        self.session = bots_pb2.BotSession(
            bot_id=f"{options.bot}-{number}",
            status=bots_pb2.OK,
            worker=worker_pb2.Worker(devices=[worker_pb2.Device(properties=properties)]),
        )

    def work(self) -> None:
        while True:
            try:
                self.session = self.bots.CreateBotSession(
                    bots_pb2.CreateBotSessionRequest(
                        parent=self.instance, bot_session=self.session
                    ),
                    timeout=POLL,
                    metadata=self.metadata,
                )
                while True:
                    for lease in self.session.leases:
                        self._run(lease)
                    self._update()
            except grpc.RpcError as error:  # the server is gone or has forgotten us: anew
                print(f"{self.session.bot_id}: {error}", file=sys.stderr, flush=True)
                del self.session.leases[:]
                self.session.version = ""
                time.sleep(1)

    def _update(self) -> None:
        self.session = self.bots.UpdateBotSession(
            bots_pb2.UpdateBotSessionRequest(name=self.session.name, bot_session=self.session),
            timeout=POLL,
            metadata=self.metadata,
        )

    def _run(self, lease: bots_pb2.Lease) -> None:
        print(f"{self.session.bot_id}: runs {lease.id}", flush=True)
        process = self.runner.start(lease)
        try:
            while True:
                try:
                    process.wait(HEARTBEAT)
                    break
                except subprocess.TimeoutExpired:
                    self._update()
                    if lease.id not in {held.id for held in self.session.leases}:
                        print(f"{self.session.bot_id}: cancelled {lease.id}", flush=True)
                        return
        finally:
            process.terminate()
            process.wait()
        self.runner.report(lease, self.session.bot_id)
        del self.session.leases[:]
        self.session.leases.append(lease)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--bots-remote", required=True)
    parser.add_argument("--bots-instance", default="")
    for name in ("server-cert", "client-key", "client-cert", "access-token"):
        parser.add_argument(f"--bots-{name}", type=Path)
    parser.add_argument("--cas-remote", required=True)
    parser.add_argument("--buildbox-run", required=True)
    parser.add_argument("--concurrent-jobs", type=int, default=1)
    parser.add_argument("--platform", action="append", default=[])
    parser.add_argument("bot")
    options = parser.parse_args()
    runner = Runner(options.cas_remote, options.buildbox_run, Path(tempfile.mkdtemp(dir=".")))
    bots = bots_pb2_grpc.BotsStub(channel(options))
    for number in range(options.concurrent_jobs):
        threading.Thread(target=Slot(bots, runner, options, number).work).start()


if __name__ == "__main__":
    main()
