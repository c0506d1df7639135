"""Serve one directory over HTTP, with the headers a page needs for shared memory.

Shared memory (and so QEMU's threads) exists only on a cross-origin isolated page: see the COOP and
COEP headers below. Used by `scons serve`, and run by its file path inside the verify sandbox, so it
needs nothing but the standard library:

    python3 server.py DIRECTORY [--port N] [--host ADDRESS]

The first line on standard output is the URL.
"""

import argparse
import errno
import os
import shutil
import socketserver
import sys
import urllib.parse
from functools import partial
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

TYPES = {
    ".css": "text/css; charset=utf-8",
    ".data": "application/octet-stream",
    ".html": "text/html; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".json": "application/json",
    ".mjs": "text/javascript; charset=utf-8",
    ".png": "image/png",
    ".svg": "image/svg+xml",
    ".txt": "text/plain; charset=utf-8",
    ".wasm": "application/wasm",
}
HEADERS = {
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Embedder-Policy": "require-corp",
    "Cross-Origin-Resource-Policy": "same-origin",
    "X-Content-Type-Options": "nosniff",
    "Allow": "GET, HEAD",
    # A rebuilt bundle must be seen: the browser asks each time, and gets 304 if nothing changed.
    "Cache-Control": "no-cache",
}
IDLE_SECONDS = 60  # after this long without a request, a connection is closed


def locate(root: Path, target: str) -> Path | None:
    """The file a request's target names, or None: a file of the bundle that is not hidden.

    ``root`` must be resolved. The path is decoded once, then checked, then its symbolic links are
    followed and it is checked again: nothing outside ``root`` is ever reached.
    """
    try:
        path = urllib.parse.unquote(urllib.parse.urlsplit(target).path, errors="strict")
    except ValueError:
        return None
    if not path.startswith("/") or "\\" in path or "\0" in path:
        return None
    if path.endswith("/"):
        path += "index.html"
    parts = path[1:].split("/")
    if any(part == "" or part.startswith(".") for part in parts):
        return None
    try:
        found = root.joinpath(*parts).resolve(strict=True)
    except (OSError, RuntimeError):  # missing, unreadable, name too long, or a loop of links
        return None
    return found if found.is_relative_to(root) and found.is_file() else None


class Handler(BaseHTTPRequestHandler):
    """GET and HEAD of the files below ``root``; everything else is refused."""

    protocol_version = "HTTP/1.1"
    server_version = "thaw"
    sys_version = ""
    timeout = IDLE_SECONDS

    def __init__(self, *args: object, root: Path) -> None:
        self.root = root
        super().__init__(*args)  # type: ignore[arg-type]

    def do_GET(self) -> None:
        self._answer(body=True)

    def do_HEAD(self) -> None:
        self._answer(body=False)

    def _refuse(self) -> None:
        self.close_connection = True  # the request's body, if any, is not read
        self.send_error(HTTPStatus.METHOD_NOT_ALLOWED)

    do_POST = do_PUT = do_DELETE = do_PATCH = do_OPTIONS = do_TRACE = do_CONNECT = _refuse

    def _answer(self, body: bool) -> None:
        found = locate(self.root, self.path)
        if found is None:
            self.send_error(HTTPStatus.NOT_FOUND)
            return
        try:
            file = found.open("rb")
        except OSError:  # removed or made unreadable since it was found
            self.send_error(HTTPStatus.NOT_FOUND)
            return
        with file:
            about = os.fstat(file.fileno())
            # Time stamps of modification are all alike in a reproducible bundle: the inode's own
            # (ctime) is what tells a new file from an old one of the same size.
            tag = f'"{about.st_ino:x}-{about.st_size:x}-{about.st_ctime_ns:x}"'
            if tag in self.headers.get("If-None-Match", ""):
                self.send_response(HTTPStatus.NOT_MODIFIED)
                self.send_header("ETag", tag)
                self.end_headers()
                return
            self.send_response(HTTPStatus.OK)
            self.send_header("Content-Type", TYPES.get(found.suffix, "application/octet-stream"))
            self.send_header("Content-Length", str(about.st_size))
            self.send_header("ETag", tag)
            self.end_headers()
            if body:
                shutil.copyfileobj(file, self.wfile, 1 << 20)

    def end_headers(self) -> None:
        for name, value in HEADERS.items():
            self.send_header(name, value)
        super().end_headers()

    def log_request(self, code: int | str = "-", size: int | str = "-") -> None:
        """Only what went wrong is worth a line."""
        if isinstance(code, int) and code >= HTTPStatus.BAD_REQUEST:
            print(f"{code} {self.command} {self.path!r}", file=sys.stderr)

    def log_message(self, format: str, *args: object) -> None:
        """Silent: a closed tab or an idle connection is not news."""


class Server(ThreadingHTTPServer):
    """A thread per connection; a browser that goes away is not an error."""

    daemon_threads = True

    def server_bind(self) -> None:
        # HTTPServer's own asks the name service for the host's name, which may take seconds.
        socketserver.TCPServer.server_bind(self)
        self.server_name, self.server_port = str(self.server_address[0]), self.server_address[1]

    def handle_error(self, request: object, client_address: object) -> None:
        error = sys.exception()
        if not isinstance(error, ConnectionError | TimeoutError):
            print(f"request failed: {error!r}", file=sys.stderr)


def bind(directory: Path, port: int, host: str = "127.0.0.1") -> Server:
    """A server that is bound but not yet answering. If ``port`` is taken, a free one is used.

    Raises FileNotFoundError if there is no page, OSError if no port can be had.
    """
    root = directory.resolve()
    if not (root / "index.html").is_file():
        raise FileNotFoundError(
            f"{directory}: no index.html there; build it first with `scons wasm-bundle`"
        )
    handler = partial(Handler, root=root)
    try:
        return Server((host, port), handler)
    except OSError as error:
        if error.errno not in (errno.EADDRINUSE, errno.EACCES) or port == 0:
            raise
        why = "taken" if error.errno == errno.EADDRINUSE else "not ours to use"
        print(f"port {port} is {why}: using a free one", file=sys.stderr)
        return Server((host, 0), handler)


def serve(directory: Path, port: int, host: str = "127.0.0.1") -> None:
    """Serve ``directory`` until Ctrl-C, after printing its URL. Raises as `bind` does."""
    with bind(directory, port, host) as server:
        print(f"http://{host}:{server.server_port}/", flush=True)
        try:
            server.serve_forever()
        except KeyboardInterrupt:
            print()


def main() -> None:
    parser = argparse.ArgumentParser(description="Serve a bundle on this machine.")
    parser.add_argument("directory", type=Path)
    parser.add_argument("--port", type=int, default=8080, help="0: any free one")
    parser.add_argument("--host", default="127.0.0.1")
    options = parser.parse_args()
    if not 0 <= options.port <= 65535:
        parser.error(f"--port {options.port}: not between 0 and 65535")
    try:
        serve(options.directory, options.port, options.host)
    except OSError as error:
        sys.exit(f"cannot serve: {error}")


if __name__ == "__main__":
    main()
