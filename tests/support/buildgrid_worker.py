"""A worker for BuildGrid: takes leases of its Bots service and gives them to buildbox-run.

It stands in for buildbox-worker, which no package registry has. The protocol is Google's Remote
Workers API, v1test2 (``google/devtools/remoteworkers/v1test2/bots.proto``): the bot opens a
session, posts what it knows of its leases, and gets back what the server wants. Input roots are
staged, commands run and outputs uploaded by buildbox-run, through a buildbox-casd that is a proxy
of BuildGrid's CAS; none of that is ours.

Each slot is a session of its own with room for one lease, in a thread of its own. Run as

    buildgrid_worker.py ADDRESS INSTANCE CASD_SOCKET BUILDBOX_RUN SLOTS DIRECTORY CREDENTIALS

CREDENTIALS is JSON: paths ``ca``, ``certificate``, ``key``, ``token_file``, those that are needed.
"""

import json
import socket
import subprocess
import sys
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
PROPERTIES = {"OSFamily": "linux", "ISA": "x86-64"}  # what actions may ask of this worker


def channel(address: str, credentials: dict[str, str]) -> grpc.Channel:
    if "ca" not in credentials:
        return grpc.insecure_channel(address)
    secret = {name: Path(path).read_bytes() for name, path in credentials.items()}
    return grpc.secure_channel(
        address,
        grpc.ssl_channel_credentials(secret["ca"], secret.get("key"), secret.get("certificate")),
    )


@dataclass(frozen=True)
class Runner:
    """How commands are run: buildbox-run, and the socket of the casd that it is to use."""

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
                f"--remote=unix:{self.casd}",
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
        instance: str,
        number: int,
        metadata: tuple[tuple[str, str], ...],
    ) -> None:
        self.bots = bots
        self.runner = runner
        self.instance = instance
        self.metadata = metadata
        properties = [
            worker_pb2.Device.Property(key=key, value=value) for key, value in PROPERTIES.items()
        ]
        self.session = bots_pb2.BotSession(
            bot_id=f"{socket.gethostname()}-{number}",
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


def main(arguments: list[str]) -> None:
    address, instance, casd, program, slots, directory, text = arguments
    credentials: dict[str, str] = json.loads(text)
    token_file = credentials.pop("token_file", "")
    metadata: tuple[tuple[str, str], ...] = ()
    if token_file:
        metadata = (("authorization", f"Bearer {Path(token_file).read_text()}"),)
    runner = Runner(casd, program, Path(directory))
    bots = bots_pb2_grpc.BotsStub(channel(address, credentials))
    for number in range(int(slots)):
        slot = Slot(bots, runner, instance, number, metadata)
        threading.Thread(target=slot.work).start()


if __name__ == "__main__":
    main(sys.argv[1:])
