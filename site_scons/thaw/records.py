"""Records: how an artifact came about, kept beside its manifest, for ``why`` and for healing.

A manifest names outputs only, so that equal bytes stop a change (early cutoff). Its record,
``<step>.step``, tells the rest: the step, the action with the origin of each input, and its last
runs, each with what had changed. Records are no artifacts: they may hold times, and a build
never depends on one. One that is missing or damaged counts as not known.
"""

import hashlib
import json
import time
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from buildgrid.common.protos.build.bazel.remote.execution.v2 import remote_execution_pb2 as reapi

from thaw.differences import differences
from thaw.digest import Digest
from thaw.files import write_atomically
from thaw.nodes import FileNode, Node, TreeNode, encode, from_proto
from thaw.plans import BUILT, Change, Input, Plan, Record, Run

if TYPE_CHECKING:  # those that write records
    from thaw.action import Action
    from thaw.executor import Result
    from thaw.step import Step
    from thaw.store import Store
    from thaw.toolchain import Toolchain

VERSION = b"thaw record 2\n"  # part of the checksum: another version's records are not known
HISTORY = 8  # runs that are remembered of a step
CHANGES = 100  # differences that are remembered of a run


# What an action is, said so that it can be compared.


def of_action(step: "Step", action: "Action", key: Digest, store: "Store") -> Plan:
    """A step's action with the origin of each input.

    Raises MissingBlob when a directory of the checkout is not in the store.
    """
    command = action.command()
    inputs = {}
    for path, node in sorted(action.inputs.items()):
        origin = step.inputs[path]
        files = {}
        if "dir" in origin and isinstance(node, TreeNode):
            files = entries(reapi.Tree.FromString(store.read(node.tree)))
        if "source" in origin:
            origin = {"source": origin["source"]["name"]}
        inputs[path] = Input(text(node), origin, files)
    return Plan(
        name=step.name,
        action=str(key),
        argv=tuple(action.argv),
        environment={entry.name: entry.value for entry in command.environment_variables},
        platform={entry.name: entry.value for entry in command.platform.properties},
        toolchain=step.toolchain,
        root=text(action.toolchain),
        inputs=inputs,
        asked=tuple(sorted(action.outputs)),
        generation=store.generation,
    )


def of_toolchain(toolchain: "Toolchain", key: Digest, generation: str) -> Plan:
    """A toolchain: each package is an input."""
    inputs = {}
    for source in toolchain.packages:
        name, version = package(source.name)
        inputs[name] = Input(str(source.digest), {"package": version})
    if toolchain.installed:
        # What is in the directory shows in the action's digest only.
        where = str(toolchain.installed)
        inputs["installed"] = Input(str(Digest.of_bytes(where.encode())), {"installed": where})
    else:
        for archive in toolchain.archives:
            inputs[archive.name] = Input(str(archive.digest), {"archive": archive.url})
    for part in ("links", "files", "env"):
        value = json.dumps(toolchain.spec.get(part, {}), sort_keys=True).encode()
        inputs[f"yaml: {part}"] = Input(str(Digest.of_bytes(value)), {"part": part})
    name = f"toolchain {toolchain.name}"
    environment = toolchain.environment
    return Plan(name, str(key), environment=environment, inputs=inputs, generation=generation)


def package(name: str) -> tuple[str, str]:
    """Name and version of a Debian package from its file's name."""
    found, _, rest = name.partition("_")
    return found, rest.rpartition("_")[0]


def text(node: Node) -> str:
    """An artifact in one word (or two)."""
    if isinstance(node, TreeNode):
        return str(node.root)
    return f"{node.digest} executable" if node.executable else str(node.digest)


def entries(tree: reapi.Tree) -> dict[str, str]:
    """Everything in a tree: path -> digest, ``-> target``, or ``directory`` for an empty one."""
    children = {Digest.of_bytes(encode(child)).hash: child for child in tree.children}
    found: dict[str, str] = {}

    def walk(directory: reapi.Directory, path: str) -> None:
        if path and not (directory.files or directory.directories or directory.symlinks):
            found[path.rstrip("/")] = "directory"
        for file in directory.files:
            found[path + file.name] = text(FileNode(from_proto(file.digest), file.is_executable))
        for link in directory.symlinks:
            found[path + link.name] = f"-> {link.target}"
        for child in directory.directories:
            walk(children[child.digest.hash], f"{path}{child.name}/")

    walk(tree.root, "")
    return found


# A record from one run to the next.


def follow(previous: Record | None, plan: Plan, run: Run, *, damaged: bool = False) -> Record:
    """The record after a run. A look into the cache that changed nothing leaves the runs as is."""
    built = run.outcome in BUILT
    reason, changes = "", []
    if previous is None:
        reason = "first"
    elif previous.plan.action != plan.action:
        changes = differences(previous.plan, plan)
    elif built:
        reason = "lost" if previous.plan.generation == plan.generation else "other cache"
    else:
        return replace(previous, plan=plan, last=run.outcome)
    if len(changes) > CHANGES:
        more = Change(f"and {len(changes) - CHANGES} more")
        changes = [*changes[:CHANGES], more]
    run = replace(run, reason="damaged" if damaged else reason, changes=tuple(changes))
    before = previous.runs[1 - HISTORY :] if previous else ()
    return Record(plan, (*before, run), run.outcome)


def to_bytes(record: Record) -> bytes:
    data = json.dumps(asdict(record), sort_keys=True).encode()
    return hashlib.sha256(VERSION + data).hexdigest().encode() + b"\n" + data


def from_bytes(data: bytes) -> Record | None:
    """The inverse of ``to_bytes``; None if it is damaged, or of another version."""
    checksum, _, data = data.partition(b"\n")
    if hashlib.sha256(VERSION + data).hexdigest().encode() != checksum:
        return None
    try:
        value = json.loads(data)
        return Record(
            plan=_plan(value["plan"]),
            runs=tuple(map(_run, value["runs"])),
            last=value["last"],
            step=value["step"],
            toolchain=value["toolchain"],
        )
    except (ValueError, KeyError, TypeError, AttributeError):
        return None  # written by a version that forgot to call itself another


def _plan(value: dict[str, Any]) -> Plan:
    inputs = {path: Input(**entry) for path, entry in value["inputs"].items()}
    argv, asked = tuple(value["argv"]), tuple(value["asked"])
    return Plan(**{**value, "inputs": inputs, "argv": argv, "asked": asked})


def _run(value: dict[str, Any]) -> Run:
    return Run(**{**value, "changes": tuple(Change(**change) for change in value["changes"])})


# Files.


def record_path(manifest: Path) -> Path:
    return manifest.with_suffix(".step")


def load(manifest: Path | str) -> Record | None:
    """What is known of a manifest's artifacts. Never an error."""
    try:
        return from_bytes(record_path(Path(manifest)).read_bytes())
    except OSError:
        return None


def save_step(
    manifest: Path, step: "Step", action: "Action", result: "Result", store: "Store"
) -> None:
    """Note how a step went. Raises OSError, MissingBlob."""
    plan = of_action(step, action, result.action, store)
    record = follow(load(manifest), plan, _run_of(result), damaged=result.damaged)
    write_atomically(
        record_path(manifest), to_bytes(replace(record, step=step.to_json())), durable=False
    )


def save_toolchain(
    manifest: Path, description: Path, toolchain: "Toolchain", result: "Result", store: "Store"
) -> None:
    """Note how a toolchain was made. Raises OSError."""
    plan = of_toolchain(toolchain, result.action, store.generation)
    record = follow(load(manifest), plan, _run_of(result), damaged=result.damaged)
    write_atomically(
        record_path(manifest), to_bytes(replace(record, toolchain=str(description))), durable=False
    )


def _run_of(result: "Result") -> Run:
    return Run(
        action=str(result.action),
        outputs={name: text(node) for name, node in sorted(result.outputs.items())},
        outcome=result.outcome,
        seconds=result.seconds,
        took=result.took,
        time=time.time(),
    )
