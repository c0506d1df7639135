"""Bytes from outside, by SHA-256.

A ``Source`` says what is wanted (digest) and where it may be had. Looked up in this order: the
store, local source directories (``--distdir``), then addresses: this machine's Debian mirror or
npm registry, or the source's own URL. Only bytes with the right digest ever enter the store.
"""

import base64
import hashlib
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, urlsplit, urlunsplit

from thaw import interrupt, registries
from thaw.digest import Digest
from thaw.errors import ThawError
from thaw.progress import Counter, counter, say, size
from thaw.store import Store

if TYPE_CHECKING:
    from thaw.download import Failure

ATTEMPTS = 3  # at a download that breaks off
PARALLEL = 6


@dataclass(frozen=True)
class Source:
    """One file from outside. Exactly one of debian, npm and url says where from."""

    name: str
    digest: Digest
    debian: str = ""  # path in a Debian archive, below its top
    npm: str = ""  # name@version
    url: str = ""
    integrity: str = ""  # npm's: sha512 in base64, checked besides

    @classmethod
    def from_json(cls, name: str, entry: Mapping[str, Any]) -> "Source":
        where = {key: entry[key] for key in ("debian", "npm", "url", "integrity") if key in entry}
        return cls(name, Digest(entry["sha256"], entry["size"]), **where)


@dataclass
class Fetcher:
    """Gets sources into the store."""

    store: Store
    distdirs: Sequence[Path] = ()
    debian_mirrors: Sequence[str] = ()
    npm_registry: str = ""
    _expected: list[Source] = field(default_factory=list)
    _locks: dict[str, Lock] = field(default_factory=dict)
    _guard: Lock = field(default_factory=Lock)

    def expect(self, sources: Iterable[Source]) -> None:
        """Announce what a build may need, for ``check_expected``."""
        self._expected += sources

    def check_expected(self) -> None:
        """Raises ThawError for a source that is not here and that nothing says where to get.

        To be called before a build: not to find out after half an hour that there is no registry.
        """
        for source in self._expected:
            here = self.store.has(source.digest) or self._from_distdir(source)
            if not here and not self.addresses(source):
                raise _unobtainable(source, [])

    def ensure(self, sources: Iterable[Source], what: str) -> None:
        """Bring every source into the store, in parallel. Raises ThawError, Interrupted."""
        missing = {s.digest: s for s in sources if not self.store.intact(s.digest)}
        missing = {d: s for d, s in missing.items() if not self._from_distdir(s)}
        if not missing:
            return
        total = sum(max(digest.size, 0) for digest in missing)
        say(f"[fetch]  {what}: {len(missing)} files, {size(total) if total else 'size unknown'}")
        with counter(f"fetch {what}", total) as progress:
            pool = ThreadPoolExecutor(PARALLEL)
            try:
                for future in [pool.submit(self._get, s, progress) for s in missing.values()]:
                    future.result()
            finally:
                pool.shutdown(cancel_futures=True)

    def _from_distdir(self, source: Source) -> bool:
        for directory in self.distdirs:
            path = directory / source.name
            if not path.is_file():
                continue
            if Digest.of_file(path).hash == source.digest.hash:
                self.store.put_file(path)
                return True
            say(f"{path}: not the file that is locked (sha256 differs), looking elsewhere")
        return False

    def _get(self, source: Source, progress: Counter) -> None:
        # Two toolchains share packages: each file is downloaded once in this process.
        with self._guard:
            lock = self._locks.setdefault(source.digest.hash, Lock())
        with lock:
            if self.store.has(source.digest):
                progress.add(source.digest.size)
                return
            addresses = self.addresses(source)
            failures = []
            for address in addresses:
                failure = self._download(source, address, progress)
                for _ in range(ATTEMPTS - 1):
                    if failure is None or not failure.may_pass:
                        break
                    failure = self._download(source, address, progress)
                if failure is None:
                    return
                failures.append(f"{without_credentials(address)}: {failure.cause}")
        raise _unobtainable(source, failures)

    def addresses(self, source: Source) -> list[str]:
        """Where to ask, in order."""
        if source.debian:
            mirrors = self.debian_mirrors or registries.apt_archives()
            return [f"{mirror.rstrip('/')}/{quote(source.debian)}" for mirror in mirrors]
        if source.npm:
            registry = self.npm_registry or registries.npm_registry()
            name = source.npm.rpartition("@")[0]
            return [f"{registry}/{name}/-/{source.name}"] if registry else []
        return [source.url] if source.url else []

    def _download(self, source: Source, address: str, progress: Counter) -> "Failure | None":
        """Download and check one address. What went wrong, or None."""
        from thaw.download import Failure, download  # late: see there

        interrupt.check()
        wanted = source.digest
        with self.store.temporary_file() as temporary:
            failure = download(address, temporary, wanted.size, progress)
            if failure:
                return failure
            got = Digest.of_file(temporary)
            if got.hash != wanted.hash:
                progress.add(-got.size)
                if got.size < wanted.size:
                    return Failure(f"truncated: {got.size} of {wanted.size} bytes")
                return Failure(f"wrong checksum: locked sha256 {wanted.hash}, got {got.hash}")
            if source.integrity and source.integrity != _integrity(temporary):
                return Failure(f"wrong integrity: locked {source.integrity}")
            self.store.put_file(temporary, move=True)
            return None


def _integrity(path: Path) -> str:
    with open(path, "rb") as stream:
        digest = hashlib.file_digest(stream, "sha512").digest()
    return f"sha512-{base64.b64encode(digest).decode()}"


def _unobtainable(source: Source, failures: Sequence[str]) -> ThawError:
    said = "\n  ".join(failures) or "no address is known for it"
    return ThawError(f"{source.name}: cannot be fetched:\n  {said}", remedy=_remedy(source))


def _remedy(source: Source) -> str:
    distdir = f"put the file {source.name} in a directory and pass --distdir=DIR"
    if source.debian:
        return (
            f"{distdir}; or name a Debian archive that has it (mirrors drop superseded versions,"
            " snapshot archives keep them) with --debian-mirror=URL; or renew the lock:"
            " ./sconsw relock"
        )
    if source.npm:
        return f"{distdir}; or name an npm registry with --npm-registry=URL"
    return f"{distdir}; or check the address"


def without_credentials(address: str) -> str:
    """An address fit for a log."""
    try:
        parts = urlsplit(address)
    except ValueError:  # not an address at all
        return address
    return urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2]))
