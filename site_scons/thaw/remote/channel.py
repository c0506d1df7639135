"""The connection to one server: calls with headers, deadlines, retries, and an ear for Ctrl-C."""

import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

import grpc
from buildgrid.common.protos.build.bazel.remote.execution.v2 import remote_execution_pb2 as reapi

from thaw import interrupt
from thaw.remote.failure import CallFailed, RemoteError, clean, last_cause
from thaw.remote.retry import TRIES, Retry
from thaw.remote.settings import RemoteSettings
from thaw.remote.traffic import Traffic
from thaw.remote.watchdog import SLOWEST, Watch, Watchdog

T = TypeVar("T")
MESSAGE = 16 << 20  # bytes: the largest message that is taken from a server
CONNECT = 10_000  # milliseconds until an address that does not answer counts as unreachable
KEEPALIVE = 310_000  # milliseconds; servers end connections that are asked more than every 5 min
REQUEST_METADATA = "build.bazel.remote.execution.v2.requestmetadata-bin"
INVOCATION = str(uuid.uuid4())  # names this process' calls in a server's logs


class Channel:
    """Calls to one server. Connects at the first call."""

    def __init__(self, settings: RemoteSettings, traffic: Traffic) -> None:
        self.settings = settings
        self.traffic = traffic
        self._watchdog = Watchdog(settings.timeout)
        options = [
            ("grpc.max_receive_message_length", MESSAGE),
            ("grpc.initial_reconnect_backoff_ms", 200),
            ("grpc.min_reconnect_backoff_ms", CONNECT),
            ("grpc.max_reconnect_backoff_ms", 2_000),
            ("grpc.keepalive_time_ms", KEEPALIVE),
            ("grpc.keepalive_timeout_ms", 20_000),
            ("grpc.enable_retries", 0),  # ours know of Ctrl-C
            ("grpc.enable_http_proxy", 0 if settings.local else 1),
            ("grpc.primary_user_agent", "thaw"),
        ]
        if settings.tls:
            credentials = grpc.ssl_channel_credentials(
                settings.tls_ca or None, settings.tls_key or None, settings.tls_certificate or None
            )
            self.grpc = grpc.secure_channel(settings.target, credentials, options)
        else:
            self.grpc = grpc.insecure_channel(settings.target, options)

    def close(self) -> None:
        self._watchdog.close()
        self.grpc.close()

    def metadata(self, action: str = "") -> tuple[tuple[str, str | bytes], ...]:
        """What goes with every call. ``action``: the hash it is about, for a server's logs."""
        tool = reapi.RequestMetadata(
            tool_details=reapi.ToolDetails(tool_name="thaw"),
            action_id=action,
            tool_invocation_id=INVOCATION,
        )
        return (*self.settings.headers, (REQUEST_METADATA, tool.SerializeToString()))

    def call(
        self, method: Any, request: Any, *, action: str = "", tries: int = TRIES, expected: int = 0
    ) -> Any:
        """One message there, one back. ``expected``: bytes of a large answer.

        Raises CallFailed, Interrupted.
        """
        size = request.ByteSize()

        def attempt() -> Any:
            # A megabyte takes its time on a thin line.
            deadline = self.settings.timeout + (size + expected) / SLOWEST
            metadata = self.metadata(action)
            with self.watched(
                lambda _: method.future(request, timeout=deadline, metadata=metadata),
                measured=False,
            ) as (call, _):
                answer = call.result()
            self.traffic.add(sent=size, received=answer.ByteSize())
            return answer

        return self.retrying(attempt, tries)

    def retrying(self, attempt: Callable[[], T], tries: int = TRIES) -> T:
        """``attempt()``, again if it failed with what may pass. Raises CallFailed, Interrupted."""
        retry = self.retry(tries)
        while True:
            try:
                return attempt()
            except CallFailed as error:
                if not retry.again(error):
                    raise

    def retry(self, tries: int = TRIES) -> Retry:
        return Retry(self.settings.timeout, tries)

    @contextmanager
    def watched(
        self, start: Callable[[Watch], Any], *, measured: bool = True
    ) -> Iterator[tuple[Any, Watch]]:
        """A call in progress, which ends with the block. Its errors become ours.

        ``measured``: it must keep moving. Raises CallFailed, Interrupted.
        """
        interrupt.check()
        watch = Watch(measured)
        try:
            call = start(watch)
        except ValueError:
            raise CallFailed("CLOSED", "") from None  # by another thread
        watch.cancel = call.cancel
        self._watchdog.add(watch)
        try:
            yield call, watch
        except (grpc.RpcError, grpc.FutureCancelledError) as error:
            interrupt.check()
            raise self.failure(error, watch.stalled) from None
        finally:
            self._watchdog.remove(watch)
            call.cancel()

    def failure(self, error: Any, stalled: str = "") -> RemoteError:
        """What a gRPC error means. Nothing of it is shown uncleaned."""
        if stalled:
            return CallFailed("DEADLINE_EXCEEDED", "", stalled)
        if isinstance(error, grpc.FutureCancelledError):
            return CallFailed("CANCELLED", "")
        code = error.code().name
        said = clean(last_cause(error.details() or ""), self.settings.secrets)
        if code == "DEADLINE_EXCEEDED":
            said = f"{self.settings.timeout} s"
        details = dict(error.trailing_metadata() or ()).get("grpc-status-details-bin", b"")
        return CallFailed(code, said, details=details)
