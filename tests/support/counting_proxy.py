"""A proxy that counts what goes through it: what a network would have to carry."""

import contextlib
import socket
import threading
from collections.abc import Iterator


class CountingProxy:
    """Passes connections on to ``address`` (host:port).

    address: its own
    down, up: bytes to and from the clients, so far
    """

    def __init__(self, address: str) -> None:
        host, _, port = address.rpartition(":")
        self._target = (host, int(port))
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.address = f"127.0.0.1:{self._listener.getsockname()[1]}"
        self.down = self.up = 0
        self._guard = threading.Lock()
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):  # closed: that is the end
            while True:
                client, _ = self._listener.accept()
                server = socket.create_connection(self._target)
                for source, sink, name in ((client, server, "up"), (server, client, "down")):
                    arguments = (source, sink, name)
                    threading.Thread(target=self._pass_on, args=arguments, daemon=True).start()

    def _pass_on(self, source: socket.socket, sink: socket.socket, name: str) -> None:
        with contextlib.suppress(OSError):  # reset by one side: the other is told
            while data := source.recv(1 << 16):
                with self._guard:
                    setattr(self, name, getattr(self, name) + len(data))
                sink.sendall(data)
        with contextlib.suppress(OSError):
            sink.shutdown(socket.SHUT_WR)

    def close(self) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()


@contextlib.contextmanager
def counting_proxy(address: str) -> Iterator[CountingProxy]:
    proxy = CountingProxy(address)
    try:
        yield proxy
    finally:
        proxy.close()
