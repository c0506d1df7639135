"""The action cache: what each action gave, by the action's digest.

An entry is the checksum of action and message, a line feed, and the ActionResult message. So it
is not believed after a bit flipped, when cut short, or under the name of another action.
"""

import hashlib
from pathlib import Path

from buildgrid.common.protos.build.bazel.remote.execution.v2 import remote_execution_pb2 as reapi
from google.protobuf.message import DecodeError

from thaw import progress
from thaw.blobs import Blobs, read_regular
from thaw.digest import Digest
from thaw.nodes import encode


def entry_path(top: Path, action: str) -> Path:
    """Where the result of an action is, by the hash of its digest."""
    return top / "ac" / action[:2] / action


def parse_entry(action: str, entry: bytes) -> reapi.ActionResult | None:
    """What an entry says, or None if it is damaged or of another action."""
    checksum, _, data = entry.partition(b"\n")
    if checksum != _checksum(action, data):
        return None
    try:
        return reapi.ActionResult.FromString(data)
    except DecodeError:
        return None


def _checksum(action: str, data: bytes) -> bytes:
    return hashlib.sha256(f"{action}\n".encode() + data).hexdigest().encode()


class Results(Blobs):
    """The entries of ``ac/``."""

    def __init__(self, top: Path) -> None:
        super().__init__(top)
        (top / "ac").mkdir(exist_ok=True)

    def get_result(self, action: Digest) -> reapi.ActionResult | None:
        """What an action gave before, or None. A damaged entry is set aside."""
        path = entry_path(self.top, action.hash)
        with self.using():
            try:
                entry = read_regular(path)
            except FileNotFoundError:
                return None
            result = None if entry is None else parse_entry(action.hash, entry)
            if result is not None:
                self.use(str(path))
                return result
        progress.say(f"[damage] the cached result of action {action.hash[:12]}: set aside")
        self.set_aside(path)
        return None

    def discard_result(self, action: Digest) -> None:
        """Take an action's result, whose outputs are gone, out of the action cache."""
        self.set_aside(entry_path(self.top, action.hash))

    def put_result(self, action: Digest, result: reapi.ActionResult) -> None:
        data = encode(result)
        with self.temporary_file() as temporary:
            temporary.write_bytes(_checksum(action.hash, data) + b"\n" + data)
            temporary.chmod(0o644)
            self.place(temporary, entry_path(self.top, action.hash))
