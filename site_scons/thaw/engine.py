"""Puts the engine together from the settings."""

import os
from pathlib import Path
from typing import TYPE_CHECKING

from thaw import interrupt, progress, sandbox, toolchain
from thaw.artifacts import Artifacts
from thaw.config import Config
from thaw.errors import ThawError
from thaw.executor import Executor
from thaw.fetch import Fetcher
from thaw.local import LocalRunner
from thaw.nodes import Node, TreeNode
from thaw.step import Engine
from thaw.store import MissingBlob, Store

if TYPE_CHECKING:
    from thaw.remote.service import Remote


def create(config: Config, bubblewrap: Path, jobs: int) -> Engine:
    """An engine on the cache directory of ``config``.

    bubblewrap: the toolchain description that serves where the host has none
    jobs: how many actions may run here at a time
    """
    if config.max_size:
        from thaw import gc  # late, as below: only few runs need it

        gc.parse_size(str(config.max_size), "max-size")  # a typo is told now, not after the build
    store = Store(config.cache_directory)
    distdirs = [Path(directory).expanduser() for directory in config.distdir]
    for directory in distdirs:
        if not directory.is_dir():
            raise ThawError(
                f"distdir: {directory} is not a directory",
                remedy="correct --distdir or the configuration file",
            )
    fetcher = Fetcher(
        store,
        distdirs,
        config.debian_mirror,
        config.npm_registry,
    )

    def find_bwrap() -> tuple[str, ...]:
        fetcher.check_expected()
        found = sandbox.host_bwrap()
        if found and not sandbox.fault(found):  # it may be too old for some options
            return found
        locked = toolchain.read(bubblewrap)
        key = toolchain.action_digest(locked, store)

        def tree() -> TreeNode:
            def make() -> dict[str, Node]:
                return {"root": toolchain.unpack(locked, store, fetcher)}

            root = executor.builtin("bubblewrap", key, make, whole=True).outputs["root"]
            assert isinstance(root, TreeNode)  # toolchain.unpack makes nothing else
            here.verifier.check([root])
            return root

        try:
            root = tree()
        except MissingBlob as error:
            progress.say(f"[damage] bubblewrap: {error}: set aside, made again")
            root = tree()
        return sandbox.locked_bwrap(store.unpacked(root))

    cache, service = _servers(config)
    artifacts = Artifacts(store, cache)
    # With a service many actions are under way, but this machine still runs few at a time.
    here = LocalRunner(artifacts, find_bwrap, jobs if service is None else os.cpu_count() or 1)
    elsewhere = None
    if service is not None:
        from thaw.remote.runner import RemoteRunner

        elsewhere = RemoteRunner(artifacts, service, here)
    executor = Executor(artifacts, here, elsewhere, upload=config.remote_upload)
    servers = [] if cache is None else [cache]
    if service is not None and service is not cache:
        servers.append(service)
    return Engine(store, fetcher, executor, servers, str(config.max_size))


def _servers(config: Config) -> "tuple[Remote | None, Remote | None]":
    """The server that has artifacts, and the one that runs actions. May be the same."""
    cache, executor = config.remote_cache or config.remote_executor, config.remote_executor
    if not cache:
        if config.remote_upload:
            raise ThawError(
                "--remote-upload: there is no remote cache to upload to",
                remedy="name one with --remote-cache=grpc://HOST:PORT",
            )
        return None, None
    from thaw.remote import settings  # late: gRPC takes a while to import
    from thaw.remote.service import Remote

    def connect(option: str, address: str) -> Remote:
        return Remote(
            settings.parse(
                option,
                address,
                instance=config.remote_instance,
                timeout=config.remote_timeout,
                header_file=config.remote_header_file,
                tls_ca=config.tls_ca,
                tls_client_certificate=config.tls_client_certificate,
                tls_client_key=config.tls_client_key,
            )
        )

    first = connect("--remote-cache" if config.remote_cache else "--remote-executor", cache)
    if not executor or executor == cache:
        return first, first if executor else None
    return first, connect("--remote-executor", executor)


def close(engine: Engine) -> None:
    """Hang up, and keep the cache below its size. What goes wrong is only said."""
    for server in engine.servers:
        server.close()
    if not engine.max_size:
        return
    from thaw import gc

    try:
        gc.after_build(engine.store, engine.max_size)
    except (ThawError, interrupt.Interrupted, OSError) as error:
        progress.say(f"cache-gc: {error}")


def traffic(engine: Engine) -> list[str]:
    """What went over the network to and from servers, for people."""
    lines = []
    for server in engine.servers:
        count = server.traffic
        received, sent = progress.size(count.downloaded), progress.size(count.uploaded)
        lines.append(
            f"{server.settings.address}: {count.results} results;"
            f" {received} received ({count.blobs_downloaded} blobs),"
            f" {sent} sent ({count.blobs_uploaded} blobs)"
        )
    return lines


def uses_installed(description: Path) -> bool:
    """Whether a toolchain comes from this machine ($EMSDK), so that no lock describes it."""
    return toolchain.read(description).installed is not None


def explain_os_error(name: str, error: OSError) -> str:
    """One line for an error of the operating system that the engine knows no remedy for."""
    place = f": {error.filename}" if error.filename else ""
    return f"{name}: {error.strerror or error}{place}"
