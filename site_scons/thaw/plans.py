"""What a record is made of: an action that can be compared, and its runs. Pure data."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

BUILT = ("built", "remote-built")  # outcomes of an action that was really run


@dataclass(frozen=True)
class Input:
    """One input of an action.

    digest: ``hash/size`` of the file, or of the directory's root; `` executable`` after it, if so
    origin: {"file": path}, {"dir": path}, {"manifest": path, "output": name}, {"json": value} or
        {"source": name}, as in a step; of a toolchain {"package": version}, {"archive": URL},
        {"part": key of the yaml} or {"installed": path}
    files: of a directory of the checkout: path in it -> digest, ``-> target`` or ``directory``
    """

    digest: str
    origin: Mapping[str, Any]
    files: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Plan:
    """An action, or the making of a toolchain.

    action: its digest; toolchain: path of the toolchain's manifest; root: digest of its tree
    asked: names of its outputs
    generation: the cache that it is for
    """

    name: str
    action: str
    argv: tuple[str, ...] = ()
    environment: Mapping[str, str] = field(default_factory=dict)
    platform: Mapping[str, str] = field(default_factory=dict)
    toolchain: str = ""
    root: str = ""
    inputs: Mapping[str, Input] = field(default_factory=dict)
    asked: tuple[str, ...] = ()
    generation: str = ""


@dataclass(frozen=True)
class Change:
    """One difference between two actions. An input that another step makes has ``manifest``."""

    text: str
    manifest: str = ""
    output: str = ""  # of the manifest
    old: str = ""  # its digest before
    new: str = ""


@dataclass(frozen=True)
class Run:
    """How an action's result came into this checkout.

    outcome: as in ``thaw.executor.Result``
    seconds: that it took; took: that the command took when it ran, if that is known
    time: when it was done, in seconds since 1970
    changes: differences from the action before it
    reason: where there was no change: "first", "damaged" (result in the cache), "lost" (no longer
        in the cache), "other cache"
    """

    action: str
    outputs: Mapping[str, str]
    outcome: str
    seconds: float = 0.0
    took: float | None = None
    time: float = 0.0
    changes: tuple[Change, ...] = ()
    reason: str = ""


@dataclass(frozen=True)
class Record:
    """What is known of a step.

    runs: oldest first, never empty
    last: outcome of the latest look, also one that changed nothing
    step (JSON), toolchain (path of its yaml): one of them says how to make the artifacts again
    """

    plan: Plan
    runs: tuple[Run, ...]
    last: str
    step: str = ""
    toolchain: str = ""

    @property
    def run(self) -> Run:
        return self.runs[-1]
