"""Puts the engine together from the settings."""

from pathlib import Path

from thaw import sandbox, toolchain
from thaw.config import Config
from thaw.errors import ThawError
from thaw.executor import Executor
from thaw.fetch import Fetcher
from thaw.nodes import TreeNode
from thaw.step import Engine
from thaw.store import Store


def create(config: Config, bubblewrap: Path) -> Engine:
    """An engine on the cache directory of ``config``.

    bubblewrap: the toolchain description that serves where the host has none
    """
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
        digest = toolchain.action_digest(locked, store)
        result = executor.builtin(
            "bubblewrap",
            digest,
            lambda: {"root": toolchain.unpack(locked, store, fetcher)},
        )
        root = result.outputs["root"]
        assert isinstance(root, TreeNode)  # toolchain.unpack makes nothing else
        return sandbox.locked_bwrap(store.unpacked(root))

    executor = Executor(store, find_bwrap)
    return Engine(store, fetcher, executor)


def uses_installed(description: Path) -> bool:
    """Whether a toolchain comes from this machine ($EMSDK), so that no lock describes it."""
    return toolchain.read(description).installed is not None


def explain_os_error(name: str, error: OSError) -> str:
    """One line for an error of the operating system that the engine knows no remedy for."""
    place = f": {error.filename}" if error.filename else ""
    return f"{name}: {error.strerror or error}{place}"
