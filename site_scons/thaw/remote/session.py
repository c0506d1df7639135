"""A server that has been spoken to: connection, capabilities, storage. Imports gRPC."""

from collections.abc import Callable

from buildgrid.common.protos.build.bazel.remote.execution.v2 import remote_execution_pb2 as reapi

from thaw.digest import Digest
from thaw.remote import cache, capabilities
from thaw.remote.cas import Cas
from thaw.remote.channel import Channel
from thaw.remote.execution import Execution
from thaw.remote.settings import RemoteSettings
from thaw.remote.traffic import Traffic


class Session:
    """Raises RemoteError, Interrupted."""

    def __init__(self, settings: RemoteSettings, traffic: Traffic) -> None:
        self.channel = Channel(settings, traffic)
        try:
            self.can = capabilities.ask(self.channel)
        except BaseException:
            self.channel.close()
            raise
        self.cas = Cas(self.channel, self.can)

    def close(self) -> None:
        self.channel.close()

    def get_result(self, action: Digest) -> reapi.ActionResult | None:
        return cache.get(self.channel, action)

    def put_result(self, action: Digest, result: reapi.ActionResult) -> None:
        cache.put(self.channel, action, result)

    def execute(
        self, action: Digest, skip_cache: bool, on_stage: Callable[[str], None]
    ) -> reapi.ExecuteResponse:
        return Execution(self.channel, action, skip_cache, on_stage).run()
