"""Bytes from outside, over real HTTP: only what is locked ever enters the store."""

import base64
import contextlib
import hashlib
import socket
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from urllib3.util.retry import Retry

from thaw import download, fetch, interrupt, registries
from thaw.digest import UNKNOWN_SIZE, Digest
from thaw.errors import ThawError
from thaw.fetch import Fetcher, Source
from thaw.store import Store

DATA = b"the archive" * 1000
PATH = "pool/main/x/x/x_1.tar.xz"
SOURCE = Source("x_1.tar.xz", Digest.of_bytes(DATA), debian=PATH)


class Mirror:
    """An HTTP server on 127.0.0.1 whose answers a test gives by path."""

    def __init__(self) -> None:
        self.files: dict[str, bytes] = {}
        self.lengths: dict[str, int] = {}  # what is said instead of the true length
        self.times: dict[str, int] = {}  # how often a lie is told; without: always
        self.asked: list[str] = []
        mirror = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                mirror.asked.append(self.path)
                data = mirror.files.get(self.path)
                if data is None:
                    self.send_error(404)
                    return
                length = len(data)
                if mirror.times.setdefault(self.path, 99) > 0:
                    mirror.times[self.path] -= 1
                    length = mirror.lengths.get(self.path, length)
                    data = data[: len(data) // 2] if length > len(data) else data
                self.send_response(200)
                self.send_header("Content-Length", str(length))
                self.end_headers()
                with contextlib.suppress(ConnectionError):
                    self.wfile.write(data)

            def log_message(self, format: str, *args: object) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}"


@contextlib.contextmanager
def running() -> Iterator[Mirror]:
    mirror = Mirror()
    thread = threading.Thread(target=mirror.server.serve_forever, args=(0.01,))
    thread.start()
    try:
        yield mirror
    finally:
        mirror.server.shutdown()
        mirror.server.server_close()
        thread.join()


@pytest.fixture
def mirror() -> Iterator[Mirror]:
    with running() as mirror:
        yield mirror


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """No pause between tries, no proxy between us and the server, no address of this machine."""
    monkeypatch.setattr(download, "RETRIES", Retry(total=1, backoff_factor=0))
    monkeypatch.setenv("NO_PROXY", "*")
    monkeypatch.setattr(registries, "apt_archives", lambda: ())
    monkeypatch.setattr(registries, "npm_registry", lambda: None)


@pytest.fixture
def refused() -> str:
    """The address of a server that is down."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{probe.getsockname()[1]}"


def nothing_stored(store: Store) -> bool:
    return not [p for part in ("cas", "tmp") for p in (store.top / part).rglob("*") if p.is_file()]


def failure(fetcher: Fetcher, source: Source = SOURCE) -> str:
    """The message of a fetch that must fail; nothing of it is stored."""
    with pytest.raises(ThawError) as raised:
        fetcher.ensure([source], "x")
    assert nothing_stored(fetcher.store)
    assert raised.value.message.startswith(f"{source.name}: cannot be fetched:\n  ")
    assert f"put the file {source.name} in a directory and pass --distdir=" in raised.value.remedy
    return raised.value.message


def test_a_file_is_fetched_once(store: Store, mirror: Mirror) -> None:
    mirror.files[f"/debian/{PATH}"] = DATA
    fetcher = Fetcher(store, debian_mirrors=[f"{mirror.url}/debian/"])
    fetcher.ensure([SOURCE, SOURCE], "x")
    fetcher.ensure([SOURCE], "x")
    assert store.read(SOURCE.digest) == DATA
    assert mirror.asked == [f"/debian/{PATH}"]


def test_many_are_fetched_at_once(store: Store, mirror: Mirror) -> None:
    sources = []
    for number in range(20):
        data = str(number).encode()
        mirror.files[f"/{number}"] = data
        sources.append(Source(f"{number}", Digest.of_bytes(data), url=f"{mirror.url}/{number}"))
    fetch_all = Fetcher(store)
    fetch_all.ensure(sources, "x")
    assert all(store.has(source.digest) for source in sources)


def test_a_name_with_special_characters_is_quoted(store: Store, mirror: Mirror) -> None:
    mirror.files["/pool/x_1%3A2%2Bds~1.tar.xz"] = DATA
    source = Source("x", SOURCE.digest, debian="pool/x_1:2+ds~1.tar.xz")
    Fetcher(store, debian_mirrors=[mirror.url]).ensure([source], "x")
    assert store.has(SOURCE.digest)


def test_a_wrong_checksum_is_refused(store: Store, mirror: Mirror) -> None:
    mirror.files[f"/{PATH}"] = wrong = DATA.replace(b"archive", b"intruder")[: len(DATA)]
    said = failure(Fetcher(store, debian_mirrors=[mirror.url]))
    assert f"{mirror.url}/{PATH}: wrong checksum: locked sha256 {SOURCE.digest.hash}" in said
    assert f"got {Digest.of_bytes(wrong).hash}" in said


def test_a_short_file_is_refused(store: Store, mirror: Mirror) -> None:
    mirror.files[f"/{PATH}"] = DATA[:5000]
    said = failure(Fetcher(store, debian_mirrors=[mirror.url]))
    assert f"{PATH}: truncated: 5000 of {len(DATA)} bytes" in said


def test_a_long_file_is_not_even_read_to_its_end(store: Store, mirror: Mirror) -> None:
    mirror.files[f"/{PATH}"] = DATA * 500
    said = failure(Fetcher(store, debian_mirrors=[mirror.url]))
    assert f"{PATH}: wrong file: more than the {len(DATA)} bytes locked" in said


def test_a_download_that_breaks_off_is_tried_again(store: Store, mirror: Mirror) -> None:
    mirror.files[f"/{PATH}"] = DATA
    mirror.lengths[f"/{PATH}"] = len(DATA) + 1
    mirror.times[f"/{PATH}"] = 1
    Fetcher(store, debian_mirrors=[mirror.url]).ensure([SOURCE], "x")
    assert store.read(SOURCE.digest) == DATA
    assert len(mirror.asked) == 2


def test_a_download_that_always_breaks_off_is_an_error(store: Store, mirror: Mirror) -> None:
    mirror.files[f"/{PATH}"] = DATA
    mirror.lengths[f"/{PATH}"] = len(DATA) + 1
    said = failure(Fetcher(store, debian_mirrors=[mirror.url]))
    assert f"{PATH}: broken off before its end" in said
    assert len(mirror.asked) == fetch.ATTEMPTS


def test_a_mirror_that_is_down_is_named(store: Store, refused: str) -> None:
    said = failure(Fetcher(store, debian_mirrors=[refused]))
    assert f"{refused}/{PATH}: ConnectionError: " in said
    assert "Connection refused" in said


def test_a_file_that_is_not_there_is_named(store: Store, mirror: Mirror) -> None:
    said = failure(Fetcher(store, debian_mirrors=[mirror.url]))
    assert said.endswith(f"{mirror.url}/{PATH}: HTTP 404 Not Found")


def test_the_remedy_for_a_superseded_package_is_told(store: Store, mirror: Mirror) -> None:
    with pytest.raises(ThawError) as raised:
        Fetcher(store, debian_mirrors=[mirror.url]).ensure([SOURCE], "x")
    assert "--debian-mirror=URL" in raised.value.remedy
    assert "./sconsw relock" in raised.value.remedy


def test_the_second_mirror_serves_when_the_first_fails(
    store: Store, mirror: Mirror, refused: str
) -> None:
    with running() as wrong:
        wrong.files[f"/{PATH}"] = b"a page that says: please log in"
        mirror.files[f"/{PATH}"] = DATA
        Fetcher(store, debian_mirrors=[refused, wrong.url, mirror.url]).ensure([SOURCE], "x")
    assert store.read(SOURCE.digest) == DATA
    assert len(wrong.asked) == len(mirror.asked) == 1


def test_when_all_fail_each_is_named(store: Store, mirror: Mirror, refused: str) -> None:
    said = failure(Fetcher(store, debian_mirrors=[refused, mirror.url]))
    assert [line.split("/pool")[0].strip() for line in said.splitlines()[1:]] == [
        refused,
        mirror.url,
    ]


def test_what_was_fetched_before_a_failure_stays(store: Store, mirror: Mirror) -> None:
    mirror.files["/good"] = b"good"
    good = Source("good", Digest.of_bytes(b"good"), url=f"{mirror.url}/good")
    with pytest.raises(ThawError, match=r"x_1\.tar\.xz: cannot be fetched"):
        Fetcher(store, debian_mirrors=[mirror.url]).ensure([good, SOURCE], "x")
    assert store.read(good.digest) == b"good"


def test_without_an_address_the_remedy_is_told(store: Store) -> None:
    assert "no address is known for it" in failure(Fetcher(store))


@pytest.mark.parametrize("address", ["nonsense", "gopher://host/x", "http://[::1", "http://a b/"])
def test_an_address_that_is_none_is_an_error_like_others(store: Store, address: str) -> None:
    assert address in failure(Fetcher(store), Source("x", SOURCE.digest, url=address))


def test_a_password_in_an_address_is_not_shown(store: Store, mirror: Mirror) -> None:
    address = mirror.url.replace("//", "//user:secret@")
    assert "secret" not in failure(Fetcher(store, debian_mirrors=[address]))


def test_a_file_of_unknown_size_is_checked_by_its_hash(store: Store, mirror: Mirror) -> None:
    mirror.files["/sdk"] = DATA
    known = Digest(SOURCE.digest.hash, UNKNOWN_SIZE)
    Fetcher(store).ensure([Source("sdk", known, url=f"{mirror.url}/sdk")], "x")
    assert store.has(known)
    other = Source("sdk", Digest("0" * 64, UNKNOWN_SIZE), url=f"{mirror.url}/sdk")
    with pytest.raises(ThawError, match="wrong checksum"):
        Fetcher(store).ensure([other], "x")


def test_a_damaged_blob_is_fetched_again(store: Store, mirror: Mirror) -> None:
    mirror.files[f"/{PATH}"] = DATA
    fetcher = Fetcher(store, debian_mirrors=[mirror.url])
    fetcher.ensure([SOURCE], "x")
    blob = store.path(SOURCE.digest)
    blob.chmod(0o644)
    blob.write_bytes(b"x" * len(DATA))
    fetcher.ensure([SOURCE], "x")
    assert store.read(SOURCE.digest) == DATA


def test_ctrl_c_in_the_middle_leaves_nothing(
    store: Store, mirror: Mirror, monkeypatch: pytest.MonkeyPatch
) -> None:
    mirror.files[f"/{PATH}"] = DATA
    answers = iter([False, True])
    monkeypatch.setattr(interrupt, "pending", lambda: next(answers, True))
    with pytest.raises(interrupt.Interrupted):
        Fetcher(store, debian_mirrors=[mirror.url]).ensure([SOURCE], "x")
    assert nothing_stored(store)


# Directories of this machine


def test_a_local_directory_comes_before_the_network(
    store: Store, mirror: Mirror, tmp_path: Path
) -> None:
    (tmp_path / SOURCE.name).write_bytes(DATA)
    distdirs = [tmp_path / "nothing", tmp_path]
    Fetcher(store, distdirs, debian_mirrors=[mirror.url]).ensure([SOURCE], "x")
    assert store.read(SOURCE.digest) == DATA
    assert mirror.asked == []


def test_a_wrong_file_in_a_local_directory_is_named_and_passed_over(
    store: Store, mirror: Mirror, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / SOURCE.name).write_bytes(DATA[:-1])
    mirror.files[f"/{PATH}"] = DATA
    Fetcher(store, [tmp_path], debian_mirrors=[mirror.url]).ensure([SOURCE], "x")
    assert store.read(SOURCE.digest) == DATA
    assert f"{tmp_path}/x_1.tar.xz: not the file that is locked" in capsys.readouterr().out


def test_a_wrong_file_in_a_local_directory_is_never_stored(store: Store, tmp_path: Path) -> None:
    (tmp_path / SOURCE.name).write_bytes(b"wrong")
    failure(Fetcher(store, [tmp_path]))


# npm packages


def integrity(data: bytes) -> str:
    return f"sha512-{base64.b64encode(hashlib.sha512(data).digest()).decode()}"


def package(locked: str) -> Source:
    digest = Digest.of_bytes(DATA)
    return Source("pty-1.0.tgz", digest, npm="@scope/pty@1.0", integrity=locked)


def test_an_npm_package_is_fetched_from_the_registry(store: Store, mirror: Mirror) -> None:
    mirror.files["/@scope/pty/-/pty-1.0.tgz"] = DATA
    Fetcher(store, npm_registry=mirror.url).ensure([package(integrity(DATA))], "x")
    assert store.read(SOURCE.digest) == DATA


def test_an_npm_package_with_another_integrity_is_refused(store: Store, mirror: Mirror) -> None:
    mirror.files["/@scope/pty/-/pty-1.0.tgz"] = DATA
    said = failure(Fetcher(store, npm_registry=mirror.url), package(integrity(b"other")))
    assert f"wrong integrity: locked {integrity(b'other')}" in said


def test_without_a_registry_the_remedy_names_the_option(store: Store) -> None:
    with pytest.raises(ThawError) as raised:
        Fetcher(store).ensure([package("")], "x")
    assert "--npm-registry=URL" in raised.value.remedy


# Where this machine gets packages from is asked for when nothing else is said


def test_the_machines_own_addresses_are_used(
    store: Store, mirror: Mirror, monkeypatch: pytest.MonkeyPatch
) -> None:
    own: Callable[[], tuple[str, ...]] = lambda: (mirror.url,)  # noqa: E731
    monkeypatch.setattr(registries, "apt_archives", own)
    monkeypatch.setattr(registries, "npm_registry", lambda: mirror.url)
    mirror.files[f"/{PATH}"] = mirror.files["/a/-/a-1.tgz"] = DATA
    fetcher = Fetcher(store)
    assert fetcher.addresses(SOURCE) == [f"{mirror.url}/{PATH}"]
    other = Source("a-1.tgz", SOURCE.digest, npm="a@1")
    assert fetcher.addresses(other) == [f"{mirror.url}/a/-/a-1.tgz"]
