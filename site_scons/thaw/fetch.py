"""Bytes from outside, by SHA-256.

A ``Source`` says what is wanted (digest) and where it may be had. Looked up in this order: the
store, local source directories (``--distdir``), then addresses: this machine's Debian mirror or
npm registry, or the source's own URL. Only bytes with the right digest ever enter the store.
"""

import base64
import contextlib
import hashlib
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from threading import Lock
from typing import Any
from urllib.parse import quote, urlsplit, urlunsplit

import requests
from requests.adapters import HTTPAdapter
from urllib3.util.retry import Retry

from thaw import interrupt, registries
from thaw.digest import UNKNOWN_SIZE, Digest
from thaw.errors import ThawError
from thaw.progress import Counter, counter, say, size
from thaw.store import Store

CHUNK = 1 << 16  # bytes: how often Ctrl-C is looked at on a slow line
ATTEMPTS = 3  # at a download that breaks off
RETRIES = Retry(total=2, backoff_factor=0.5, status_forcelist=[429, 500, 502, 503, 504])
PARALLEL = 6
TIMEOUT = (10, 30)  # seconds to connect, and between two reads


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

    def _download(self, source: Source, address: str, progress: Counter) -> "_Failure | None":
        """Download and check one address. What went wrong, or None."""
        interrupt.check()
        wanted, received, begun = source.digest, 0, False
        with contextlib.ExitStack() as stack:
            temporary = stack.enter_context(self.store.temporary_file())
            try:
                session = stack.enter_context(_session())
                reply = stack.enter_context(session.get(address, stream=True, timeout=TIMEOUT))
                reply.raise_for_status()
                begun = True
                with open(temporary, "wb") as stream:
                    for chunk in reply.iter_content(CHUNK):
                        interrupt.check()
                        stream.write(chunk)
                        received += len(chunk)
                        progress.add(len(chunk))
                        if received > wanted.size != UNKNOWN_SIZE:
                            progress.add(-received)
                            return _Failure(f"wrong file: more than the {wanted.size} bytes locked")
            except requests.RequestException as error:
                progress.add(-received)
                return _Failure("broken off before its end" if begun else _in_a_line(error), begun)
            got = Digest.of_file(temporary)
            if got.hash != wanted.hash:
                progress.add(-received)
                if got.size < wanted.size:
                    return _Failure(f"truncated: {got.size} of {wanted.size} bytes")
                return _Failure(f"wrong checksum: locked sha256 {wanted.hash}, got {got.hash}")
            if source.integrity and source.integrity != _integrity(temporary):
                return _Failure(f"wrong integrity: locked {source.integrity}")
            self.store.put_file(temporary, move=True)
            return None


@dataclass(frozen=True)
class _Failure:
    """Why an address did not give the file, and whether asking it again may help."""

    cause: str
    may_pass: bool = False


def _session() -> requests.Session:
    session = requests.Session()
    for scheme in ("http://", "https://"):
        session.mount(scheme, HTTPAdapter(max_retries=RETRIES))
    # Archives are wanted as they lie there, not with a transfer's compression taken off.
    session.headers["Accept-Encoding"] = "identity"
    return session


def _integrity(path: Path) -> str:
    with open(path, "rb") as stream:
        digest = hashlib.file_digest(stream, "sha512").digest()
    return f"sha512-{base64.b64encode(digest).decode()}"


def _in_a_line(error: requests.RequestException) -> str:
    if error.response is not None:
        return f"HTTP {error.response.status_code} {error.response.reason}"
    reason = getattr(error.args[0], "reason", error) if error.args else error
    return f"{type(error).__name__}: {reason}".splitlines()[0]


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
