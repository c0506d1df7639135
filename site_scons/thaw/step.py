"""Steps: what a build target asks of the engine, and the manifest it gets back.

A step is pure data (JSON), so that a build tool can compare it. Its inputs refer to files of the
checkout, to outputs of other steps through their manifests, and to locked files from outside. A
manifest is a small file that names the step's outputs by digest and nothing else: a rebuild that
gives the same bytes gives the same manifest, and what depends on it stays as it is.
"""

import contextlib
import json
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from thaw import layout, progress, records
from thaw import toolchain as toolchains
from thaw.action import Action
from thaw.digest import Digest
from thaw.errors import ThawError
from thaw.executor import NOT_SHAREABLE, Executor, Result
from thaw.fetch import Fetcher, Source
from thaw.files import write_atomically
from thaw.nodes import FileNode, Node, TreeNode, node_from_json
from thaw.space import space_errors
from thaw.store import MissingBlob, Store
from thaw.trace import span

if TYPE_CHECKING:
    from thaw.remote.service import Remote

Done = TypeVar("Done")


@dataclass(frozen=True)
class Step:
    """A target's step.

    name: for people, and for the kept sandbox of a failure
    argv: the command, as seen in the sandbox
    toolchain: path of a toolchain's manifest
    inputs: path in the sandbox -> one of
        {"file": path} a file of the checkout
        {"dir": path} a directory of the checkout
        {"manifest": path, "output": name} an output of another step
        {"json": value} a file with these data
        {"source": {name, sha256, size, debian|npm|url}} a locked file from outside
    outputs: names below /out
    environment, platform, use_ccache, timeout: as in ``Action``
    """

    name: str
    argv: tuple[str, ...]
    toolchain: str
    inputs: Mapping[str, Mapping[str, Any]]
    outputs: tuple[str, ...]
    environment: Mapping[str, str] = field(default_factory=dict)
    platform: Mapping[str, str] = field(default_factory=dict)
    use_ccache: bool = False
    timeout: int = 3600

    def to_json(self) -> str:
        return json.dumps(vars(self), sort_keys=True)

    @classmethod
    def from_json(cls, text: str) -> "Step":
        value = json.loads(text)
        value["argv"], value["outputs"] = tuple(value["argv"]), tuple(value["outputs"])
        return cls(**value)


@dataclass(frozen=True)
class Manifest:
    """The outputs of a step, and for a toolchain what it adds to its users' actions."""

    outputs: Mapping[str, Node]
    environment: Mapping[str, str] = field(default_factory=dict)
    platform: Mapping[str, str] = field(default_factory=dict)

    def write(self, path: Path) -> None:
        value: dict[str, Any] = {
            "outputs": {name: node.to_json() for name, node in sorted(self.outputs.items())}
        }
        if self.environment:
            value["environment"] = dict(self.environment)
        if self.platform:
            value["platform"] = dict(self.platform)
        write_atomically(path, json.dumps(value, indent=1, sort_keys=True).encode() + b"\n")

    def output(self, name: str, origin: str) -> Node:
        """An output by name. Raises ThawError that names the manifest ``origin``."""
        if name not in self.outputs:
            raise ThawError(f"{origin}: has no output {name}, only {', '.join(self.outputs)}")
        return self.outputs[name]

    @classmethod
    def read(cls, path: Path | str) -> "Manifest":
        """Raises ThawError."""
        try:
            value = json.loads(Path(path).read_text())
            outputs = {name: node_from_json(node) for name, node in value["outputs"].items()}
            environment, platform = value.get("environment", {}), value.get("platform", {})
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise ThawError(
                f"{path}: not a manifest: {type(error).__name__}: {error}",
                remedy="remove it and build again: it is made from the cache",
            ) from error
        return cls(outputs, environment, platform)


@dataclass(frozen=True)
class Engine:
    """Everything that running steps needs."""

    store: Store
    fetcher: Fetcher
    executor: Executor
    servers: Sequence["Remote"] = ()
    max_size: str = ""  # of the store: see thaw.gc

    def run_step(self, step: Step, target: Path, *, whole: bool = False) -> Result:
        """Run a step and write its manifest. With ``whole``, its outputs are here afterwards.

        Raises ThawError, Interrupted. On an error the manifest is as it was.
        """
        manifests = {step.toolchain, *manifests_of(step.inputs.values())}
        return self._healed(step.name, manifests, lambda: self._try_step(step, target, whole))

    def _try_step(self, step: Step, target: Path, whole: bool) -> Result:
        """As ``run_step``, but raises MissingBlob when something in the store is damaged."""
        with span(step.name, "action"):
            with span(step.name, "key"), self.store.using():
                action, sources = self._action(step)
            result = self.executor.run(
                action, lambda: self.fetcher.ensure(sources, step.name), whole=whole
            )
            Manifest(result.outputs, platform=action.platform).write(target)
            records.save_step(target, step, action, result, self.store)
        return result

    def lay_out(self, name: str, manifest: Path, outputs: Mapping[str, Path]) -> None:
        """Have outputs of the step ``name`` as files: output name -> path.

        Raises ThawError, Interrupted.
        """

        def copy() -> None:
            found = Manifest.read(manifest)
            nodes = {output: found.output(output, str(manifest)) for output in outputs}
            self.executor.artifacts.bring(nodes.values(), name)
            with span(name, "lay-out"):
                for output, path in outputs.items():
                    self.store.lay_out(nodes[output], path)
            layout.write_stamps(manifest, outputs.values())

        self._healed(name, {str(manifest)}, copy)

    def _healed(self, name: str, manifests: Collection[str], run: Callable[[], Done]) -> Done:
        """Run something; what it finds damaged among the manifests' artifacts is made again."""
        with self._problems(name):
            for _ in range(len(manifests) + 1):
                try:
                    return run()
                except MissingBlob as error:
                    progress.say(f"[damage] {name}: {error}: set aside, made again")
                    self._heal(manifests)
            return run()

    def _heal(self, manifests: Iterable[str]) -> None:
        """Make again what is nowhere whole, by the steps that made it."""
        for path in sorted(manifests):
            manifest = Manifest.read(path)
            try:
                self.executor.artifacts.bring(manifest.outputs.values(), Path(path).stem)
                continue
            except MissingBlob:
                record = records.load(Path(path))
            if record is None:
                raise ThawError(
                    f"{path}: its artifacts are damaged, and how they were made is not known",
                    remedy="remove out/ and build again",
                )
            if record.toolchain:
                self.run_toolchain(Path(record.toolchain), Path(path), whole=True)
            else:
                self.run_step(Step.from_json(record.step), Path(path), whole=True)

    def plan(self, step: Step) -> tuple[Action, Digest]:
        """The action that a step asks for now, and its key. Raises ThawError, MissingBlob."""
        action, _ = self._action(step)
        return action, action.encode(self.store.read(action.toolchain.root)).digest

    def _action(self, step: Step) -> tuple[Action, list[Source]]:
        """The action, whose inputs are in the store, but for the locked files from outside."""
        toolchain = Manifest.read(step.toolchain)
        sources: list[Source] = []
        platform = {**toolchain.platform, **step.platform}
        inputs: dict[str, Node] = {}
        for path, value in sorted(step.inputs.items()):
            if "manifest" in value:
                manifest = Manifest.read(value["manifest"])
                inputs[path] = manifest.output(value["output"], value["manifest"])
                platform.update(manifest.platform)
            else:
                inputs[path] = self._input(value, sources)
        root = toolchain.output("root", step.toolchain)
        if not isinstance(root, TreeNode):
            raise ThawError(f"{step.toolchain}: is not a toolchain's manifest")
        action = Action(
            name=step.name,
            argv=step.argv,
            toolchain=root,
            inputs=inputs,
            outputs=step.outputs,
            environment={**toolchain.environment, **step.environment},
            platform=platform,
            use_ccache=step.use_ccache,
            timeout=step.timeout,
        )
        return action, sources

    @contextlib.contextmanager
    def _problems(self, name: str) -> Iterator[None]:
        """Tells what to do about a full disk and a damaged cache."""
        try:
            with space_errors(name, self.store.top):
                yield
        except MissingBlob as error:
            raise ThawError(
                f"{name}: {error}",
                remedy="remove out/ and build again: what is missing will be made anew",
            ) from error

    def _input(self, value: Mapping[str, Any], sources: list[Source]) -> Node:
        if "file" in value or "dir" in value:
            return self.store.capture(Path(value.get("file") or value["dir"]))
        if "json" in value:
            text = json.dumps(value["json"], indent=1, sort_keys=True) + "\n"
            return FileNode(self.store.put_bytes(text.encode()))
        source = Source.from_json(value["source"]["name"], value["source"])
        sources.append(source)
        return FileNode(source.digest)

    def run_toolchain(self, description: Path, target: Path, *, whole: bool = False) -> Result:
        """Make a toolchain's tree and write its manifest. Raises ThawError, Interrupted."""
        toolchain = toolchains.read(description)
        name = f"toolchain {toolchain.name}"

        def make() -> dict[str, Node]:
            self.executor.here.bwrap()  # a machine that can't build must not download for nothing
            return {"root": toolchains.unpack(toolchain, self.store, self.fetcher)}

        platform = NOT_SHAREABLE if toolchain.installed else {}
        with self._problems(name), span(name, "action"):
            key = toolchains.action_digest(toolchain, self.store)
            result = self.executor.builtin(name, key, make, shared=not platform, whole=whole)
            Manifest(result.outputs, toolchain.environment, platform).write(target)
            records.save_toolchain(target, description, toolchain, result, self.store)
        return result


def manifests_of(inputs: Iterable[Mapping[str, Any]]) -> list[str]:
    """The manifests that inputs refer to."""
    return [value["manifest"] for value in inputs if "manifest" in value]


def files_of(inputs: Iterable[Mapping[str, Any]]) -> list[str]:
    """The paths of the checkout and of manifests that inputs refer to."""
    return [value[key] for value in inputs for key in ("file", "dir", "manifest") if key in value]
