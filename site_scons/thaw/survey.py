"""What is known of every step now: records, and the actions that the next build would ask for."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from thaw import layout, records
from thaw import toolchain as toolchains
from thaw.digest import Digest
from thaw.errors import ThawError
from thaw.plans import Plan
from thaw.step import Engine, Step, manifests_of
from thaw.store import MissingBlob
from thaw.why import Known


@dataclass(frozen=True)
class Target:
    """A step of the graph.

    made_by: the step, or the path of a toolchain's description
    files: files and directories of results that are laid out from it
    """

    name: str
    manifest: Path
    made_by: Step | Path
    files: tuple[str, ...] = ()

    @property
    def needs(self) -> list[str]:
        """Paths of the manifests that it reads."""
        if isinstance(self.made_by, Path):
            return []
        return [self.made_by.toolchain, *manifests_of(self.made_by.inputs.values())]


def closure(targets: Mapping[str, Target], wanted: list[str]) -> list[str]:
    """Names of ``wanted`` and of all they are made from, makers first.

    targets: path of a manifest -> the step that makes it; wanted: such paths
    """
    order: dict[str, None] = {}

    def add(manifest: str) -> None:
        target = targets.get(manifest)
        if target is None or manifest in order:
            return
        for need in sorted(set(target.needs)):
            add(need)
        order[manifest] = None

    for manifest in wanted:
        add(manifest)
    return list(order)


def look(engine: Engine, targets: Mapping[str, Target], wanted: list[str]) -> dict[str, Known]:
    """What is known of ``wanted`` and of all they are made from, by name.

    Captures files of the checkout in the store, as a build would; runs nothing.
    """
    known = {}
    for manifest in closure(targets, wanted):
        target = targets[manifest]
        now, problem = _now(engine, target)
        known[target.name] = Known(
            name=target.name,
            needs={need: targets[need].name for need in target.needs if need in targets},
            record=records.load(target.manifest),
            now=now,
            problem=problem,
            cached=now is not None
            and engine.store.get_result(Digest.parse(now.action)) is not None,
            removed=not target.manifest.exists(),
            touched=target.files if layout.is_touched(target.manifest) else (),
        )
    return known


def _now(engine: Engine, target: Target) -> tuple[Plan | None, str]:
    """The action that the next build would ask for, or why that can't be told."""
    store = engine.store
    try:
        if isinstance(target.made_by, Path):
            toolchain = toolchains.read(target.made_by)
            key = toolchains.action_digest(toolchain, store)
            return records.of_toolchain(toolchain, key, store.generation), ""
        if not all(Path(need).exists() for need in target.needs):
            return None, ""
        action, key = engine.plan(target.made_by)
        return records.of_action(target.made_by, action, key, store), ""
    except (ThawError, MissingBlob) as error:
        return None, str(error).splitlines()[0]
