"""A remote service as the engine uses it: whatever the server does, the build goes on.

A server that is down, slow, wrong or lying costs one line; from then on it is as if its cache
were empty.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Collection, Mapping
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from buildgrid.common.protos.build.bazel.remote.execution.v2 import remote_execution_pb2 as reapi

from thaw import progress
from thaw.digest import Digest
from thaw.remote import vet
from thaw.remote.failure import CallFailed, Lie, RemoteError, clean
from thaw.remote.settings import RemoteSettings
from thaw.remote.traffic import Traffic
from thaw.store import MissingBlob

if TYPE_CHECKING:
    from thaw.remote.session import Session

T = TypeVar("T")
Temporary = Callable[[], AbstractContextManager[Path]]


class Remote:
    """One server. Safe from threads. It is connected to at the first call.

    Every method may raise Interrupted.
    """

    def __init__(self, settings: RemoteSettings) -> None:
        self.settings = settings
        self.traffic = Traffic()
        self.offline = False
        self._uploads = True
        self._executes = True
        self._session: Session | None = None
        self._guard = threading.Lock()  # one thread connects, the others wait
        self._said: set[str] = set()

    @property
    def address(self) -> str:
        return self.settings.address

    # Results

    def get_result(
        self, action: Digest, name: str, outputs: Collection[str] | None = None
    ) -> reapi.ActionResult | None:
        """What an action gave before. ``outputs``: its paths, to be vetted against if given."""

        def get(session: Session) -> reapi.ActionResult | None:
            result = session.get_result(action)
            if result is not None and outputs is not None:
                try:
                    vet.check_result(result, outputs)
                except Lie as error:
                    raise Lie(f"{error} ({name})") from None
            return result

        return self._ask(get, None)

    def can_upload(self) -> bool:
        """Whether the server takes results, as far as is known."""
        return self._uploads and self._ask(lambda session: session.can.update, False)

    def put_result(self, action: Digest, result: reapi.ActionResult) -> None:
        """Publish a result, after its blobs. Does nothing where ``can_upload`` says no."""
        if self.can_upload():
            self._send(lambda session: session.put_result(action, result))

    # Blobs

    def missing(self, digests: Collection[Digest]) -> set[Digest]:
        """Those that the server has not: all of them when it is offline."""
        return self._ask(lambda session: session.cas.missing(digests), set(digests))

    def fetch(
        self,
        digests: Collection[Digest],
        what: str,
        temporary: Temporary,
        save: Callable[[Path, Digest], None],
    ) -> None:
        """Bring blobs. ``save`` gets each as a whole, verified file, from threads; it may move it.

        Raises MissingBlob for the first that can't be had, after the others came, and what
        ``save`` raises.
        """
        if not digests:
            return

        def fetch(session: Session) -> bool:
            session.cas.fetch(digests, what, temporary, save)
            return True

        if not self._ask(fetch, False):
            raise MissingBlob(next(iter(digests)))

    def read(self, digest: Digest) -> bytes:
        """A small blob, such as a log. Raises MissingBlob."""
        data = self._ask(lambda session: session.cas.read(digest), None)
        if data is None:
            raise MissingBlob(digest)
        return data

    def upload(self, blobs: Mapping[Digest, Path | bytes], what: str) -> bool:
        """Send what the server has not. False if that can't be done.

        Raises MissingBlob for what is not here, or not what its name says: it was not sent.
        """
        return self._send(lambda session: session.cas.upload(blobs, what))

    # Execution

    def execute(
        self, action: Digest, name: str, skip_cache: bool, on_stage: Callable[[str], None]
    ) -> reapi.ExecuteResponse | None:
        """Run an action whose blobs are there. ``on_stage`` hears of queued, executing, completed.

        None: the server can't, run it here. A response may say that the action failed.
        """

        def execute(session: Session) -> reapi.ExecuteResponse | None:
            if not session.can.execution:
                self._executes = False
                self._say("does not execute actions: running them here")
                return None
            return session.execute(action, skip_cache, on_stage)

        return self._ask(execute, None) if self._executes else None

    # Trust

    def distrust(self, reason: str) -> None:
        """Say once what is wrong with the server, and go on without it."""
        with self._guard:
            if self.offline:
                return
            self.offline = True
            session, self._session = self._session, None
        self._say(f"{clean(reason, self.settings.secrets)}: going on without it")
        if session is not None:
            session.close()

    def close(self) -> None:
        """Hang up. A later call connects again."""
        with self._guard:
            session, self._session = self._session, None
        if session is not None:
            session.close()

    def _say(self, text: str) -> None:
        with self._guard:
            if text in self._said:
                return
            self._said.add(text)
        progress.say(f"[remote] {self.settings.address}: {text}")

    def _open(self) -> Session | None:
        """The connection. Raises RemoteError, Interrupted."""
        with self._guard:
            if self.offline:
                return None
            if self._session is None:
                from thaw.remote.session import Session  # gRPC takes 0.1 s to import

                self._session = Session(self.settings, self.traffic)
            return self._session

    def _ask(self, work: Callable[[Session], T], otherwise: T) -> T:
        try:
            session = self._open()
            return otherwise if session is None else work(session)
        except RemoteError as error:
            self.distrust(str(error))
            return otherwise

    def _send(self, work: Callable[[Session], None]) -> bool:
        """As ``_ask``, but a server that does not permit it can still be read from."""

        def send(session: Session) -> bool:
            try:
                work(session)
            except CallFailed as error:
                if not error.denied:
                    raise
                self._uploads = False
                self._say("does not permit uploads: only reading from it")
                return False
            return True

        return self._ask(send, False)
