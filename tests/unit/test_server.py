"""The server: headers, types, revalidation, and nothing outside its directory."""

import http.client
import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from thaw import server

OUTSIDE = "outside the bundle"


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    root = tmp_path / "bundle"
    (root / "vendor").mkdir(parents=True)
    (root / "index.html").write_text("<!doctype html>")
    (root / "qemu.wasm").write_bytes(b"\0asm")
    (root / "pack.data").write_bytes(bytes(3 << 20))
    (root / "vendor" / "xterm.js").write_text("export {}")
    (root / "a b.txt").write_text("spaced")
    (root / ".hidden").write_text("hidden")
    (root / ".git").mkdir()
    (root / ".git" / "config").write_text("hidden")
    (tmp_path / "secret").write_text(OUTSIDE)
    (root / "leak").symlink_to(tmp_path / "secret")
    (root / "up").symlink_to(tmp_path)
    (root / "loop").symlink_to("loop")
    (root / "inner").symlink_to("vendor/xterm.js")
    return root


@contextmanager
def running(root: Path) -> Iterator[int]:
    with server.bind(root, 0) as bound:
        thread = threading.Thread(target=bound.serve_forever, args=[0.01])
        thread.start()
        try:
            yield bound.server_port
        finally:
            bound.shutdown()
            thread.join()


@pytest.fixture
def port(bundle: Path) -> Iterator[int]:
    with running(bundle) as number:
        yield number


def ask(
    port: int, target: str, method: str = "GET", headers: dict[str, str] | None = None
) -> tuple[http.client.HTTPResponse, bytes]:
    with closing(http.client.HTTPConnection("127.0.0.1", port, timeout=10)) as connection:
        connection.request(method, target, headers=headers or {})
        response = connection.getresponse()
        return response, response.read()


@pytest.mark.parametrize(
    ("target", "content_type"),
    [
        ("/", "text/html; charset=utf-8"),
        ("/index.html?cold", "text/html; charset=utf-8"),
        ("/qemu.wasm", "application/wasm"),
        ("/pack.data", "application/octet-stream"),
        ("/vendor/xterm.js", "text/javascript; charset=utf-8"),
        ("/inner", "text/javascript; charset=utf-8"),
        ("/a%20b.txt", "text/plain; charset=utf-8"),
    ],
)
def test_serves_the_bundle(port: int, target: str, content_type: str) -> None:
    response, body = ask(port, target)
    assert response.status == 200
    assert response.getheader("Content-Type") == content_type
    assert response.getheader("Content-Length") == str(len(body))


@pytest.mark.parametrize("target", ["/", "/absent"])
def test_every_answer_isolates_the_page(port: int, target: str) -> None:
    response, _ = ask(port, target)
    assert response.getheader("Cross-Origin-Opener-Policy") == "same-origin"
    assert response.getheader("Cross-Origin-Embedder-Policy") == "require-corp"
    assert response.getheader("Cross-Origin-Resource-Policy") == "same-origin"
    assert response.getheader("Cache-Control") == "no-cache"


@pytest.mark.parametrize(
    "target",
    [
        "/../secret",
        "/vendor/../../secret",
        "/%2e%2e/secret",
        "/..%2fsecret",
        "/%2e%2e%2fsecret",
        "/..%5csecret",
        "/..\\secret",
        "/leak",
        "/up/secret",
        "/loop",
        "//secret",
        "/.hidden",
        "/%2ehidden",
        "/.git/config",
        "/vendor",
        "/vendor/",
        "/vendor//xterm.js",
        "/index.html%00.txt",
        "/%ff",
        "/" + "x" * 5000,
        "*",
        "http://127.0.0.1/../secret",
    ],
)
def test_nothing_else_is_answered(port: int, target: str) -> None:
    response, body = ask(port, target)
    assert response.status == 404
    assert OUTSIDE.encode() not in body
    assert b"hidden" not in body


def test_head_has_the_headers_and_no_body(port: int) -> None:
    response, body = ask(port, "/pack.data", "HEAD")
    assert (response.status, body) == (200, b"")
    assert response.getheader("Content-Length") == str(3 << 20)


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "OPTIONS", "PATCH"])
def test_only_get_and_head(port: int, method: str) -> None:
    response, _ = ask(port, "/", method)
    assert response.status == 405
    assert response.getheader("Allow") == "GET, HEAD"


def test_an_unchanged_file_is_not_sent_again(port: int) -> None:
    tag = ask(port, "/qemu.wasm")[0].getheader("ETag")
    assert tag is not None
    response, body = ask(port, "/qemu.wasm", headers={"If-None-Match": tag})
    assert (response.status, body) == (304, b"")


def test_a_rebuilt_file_of_the_same_size_and_date_is_seen(bundle: Path, port: int) -> None:
    file = bundle / "qemu.wasm"
    os.utime(file, (1, 1))
    tag = ask(port, "/qemu.wasm")[0].getheader("ETag")
    assert tag is not None
    new = bundle / "new"
    new.write_bytes(b"\1asm")
    os.utime(new, (1, 1))
    new.replace(file)
    response, body = ask(port, "/qemu.wasm", headers={"If-None-Match": tag})
    assert (response.status, body) == (200, b"\1asm")


def test_a_taken_port_is_replaced_by_a_free_one(
    bundle: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        number = taken.getsockname()[1]
        with server.bind(bundle, number) as bound:
            assert bound.server_port not in (0, number)
    assert f"port {number} is taken" in capsys.readouterr().err


def test_a_directory_without_a_page_is_refused(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="scons wasm-bundle"):
        server.bind(tmp_path, 0)


def test_by_file_path_it_prints_its_url_and_ends_quietly(bundle: Path) -> None:
    command = [sys.executable, str(server.__file__), str(bundle), "--port", "0"]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        url = process.stdout.readline().strip()
        port = int(url.removeprefix("http://127.0.0.1:").removesuffix("/"))
        assert ask(port, "/")[0].status == 200
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=10)
    assert (process.returncode, errors) == (0, "")
