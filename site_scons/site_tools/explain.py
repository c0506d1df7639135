"""Targets that answer questions: why, aquery, log, graph; and ``--profile=FILE``.

    ./sconsw why wasm-bundle        ./sconsw -Qs aquery snapshot        ./sconsw log kernel

Names after such a target are its arguments, and are not built. Names before it are built first.
Steps are found in SCons' graph, so this works in anyone's SConstruct.
"""

import atexit
import datetime
import json
import os
import sys
import time
from pathlib import Path

import SCons.Node.Alias
import SCons.Script
from SCons.Errors import BuildError

from thaw.errors import ThawError

# The rest is imported late: a build that has nothing to do must not wait for it.

# A tree of package files is unpacked without the scripts that would register Graphviz' plugins.
DRAW = """
mkdir /tmp/plugins
ln -s /usr/lib/*/graphviz/*.so* /tmp/plugins
export GVBINDIR=/tmp/plugins XDG_CACHE_HOME=/tmp
dot -c
dot -Tsvg /src/graph.dot -o /out/graph.svg
"""

_profiled = False


def generate(env):
    env.AddMethod(why_target, "Why")
    env.AddMethod(query_target, "ActionQuery")
    env.AddMethod(log_target, "Log")
    env.AddMethod(graph_target, "ActionGraph")
    env.AddMethod(_question, "ThawQuestion")
    _profile(env)


def exists(env):
    return True


# Names on the command line


def _arguments(name):
    """What follows the target ``name`` on the command line; those are not built."""
    words = SCons.Script.COMMAND_LINE_TARGETS
    if name not in words:
        return [], []
    place = words.index(name)
    SCons.Script.BUILD_TARGETS[:] = words[: place + 1]
    return words[:place], words[place + 1 :]


def _question(env, name, answer):
    """A target that prints: ``answer(targets, wanted)``, with steps by path of their manifests."""
    before, arguments = _arguments(name)

    def action(target, source, env):
        try:
            targets = _targets(env)
            answer(targets, _wanted(targets, arguments or before))
        except (ThawError, OSError) as error:
            raise BuildError(target[0], str(error), 2, 2) from error

    node = env.ThawAlways(name, [], action)
    if before:
        env.Requires(node, env.arg2nodes(before, env.fs.Entry))
    return node


def _targets(env):
    """Every step of the graph: path of its manifest -> the step."""
    found = {}
    top = env.Dir(f"{env['THAW_OUT']}/manifests")
    pending = [top]
    while pending:
        for name, node in sorted(pending.pop().entries.items()):
            if name in (".", ".."):
                continue
            if isinstance(node, SCons.Node.FS.Dir):
                pending.append(node)
            elif node.has_builder():
                target = _target(node)
                if target:
                    found[node.get_path()] = target
    return found


def _target(node):
    from thaw.survey import Target

    values = node.get_build_env()
    path = Path(node.get_path())
    if values.get("THAW_STEP"):
        files = [file.get_path() for file in node.attributes.thaw_files if file != node]
        for file in node.attributes.thaw_files:
            files += file.get_build_env().get("THAW_LAY_OUT", {}).values()
        step = values["THAW_STEP"]
        return Target(step.name, path, step, tuple(dict.fromkeys(files)))
    if values.get("THAW_TOOLCHAIN"):
        description = Path(values["THAW_TOOLCHAIN"])
        return Target(f"toolchain {description.stem}", path, description)
    return None


def _wanted(targets, names):
    """Manifests of the steps that are meant: by an alias, a step's name, or a file of it."""
    if not names:
        nodes = SCons.Script.DEFAULT_TARGETS
        found = [path for node in nodes for path in _below(targets, node)]
        return list(dict.fromkeys(found)) or list(targets)
    found = []
    for name in names:
        alias = SCons.Node.Alias.default_ans.get(name)
        paths = _below(targets, alias) if alias else []
        paths = paths or [path for path, target in targets.items() if _is_called(target, name)]
        if not paths:
            raise _unknown(targets, name)
        found += paths
    return list(dict.fromkeys(found))


def _below(targets, node):
    """The steps nearest to a node."""
    path = node.get_path() if hasattr(node, "get_path") else None
    if path in targets:
        return [path]
    if isinstance(node, SCons.Node.FS.Dir):
        return [path for path, target in targets.items() if _is_called(target, str(node))]
    return [path for child in node.all_children() for path in _below(targets, child)]


def _is_called(target, name):
    names = [target.name, target.name.replace("toolchain ", "toolchain-")]
    names += [str(target.manifest), *target.files]
    wanted = os.path.normpath(name.lstrip("#"))
    return name in names or wanted in map(os.path.normpath, names)


def _unknown(targets, name):
    aliases = sorted(
        alias for alias, node in SCons.Node.Alias.default_ans.items() if _below(targets, node)
    )
    steps = sorted(target.name for target in targets.values())
    return ThawError(
        f"{name}: is not made by any step",
        remedy=f"name one of these: {', '.join(dict.fromkeys([*aliases, *steps]))}",
    )


# The questions


def why_target(env, name):
    """Which input made a step run the last time, or will make it run the next time."""

    def answer(targets, wanted):
        from thaw import why
        from thaw.survey import look

        known = look(env["THAW_ENGINE"], targets, wanted)
        print("\n".join(why.explain(known, [targets[path].name for path in wanted])))

    return _question(env, name, answer)


def query_target(env, name):
    """A step's action as JSON."""

    def answer(targets, wanted):
        from thaw import query
        from thaw.survey import look

        known = look(env["THAW_ENGINE"], targets, wanted)
        found = [query.describe(targets[path], known[targets[path].name]) for path in wanted]
        print(json.dumps(found[0] if len(found) == 1 else found, indent=1))

    return _question(env, name, answer)


def log_target(env, name):
    """What a step's command printed, in its last failure or when its result was made."""

    def answer(targets, wanted):
        for path in wanted:
            title, text = _log(env["THAW_ENGINE"], targets[path])
            print(f"thaw: log of {targets[path].name}, {title}", file=sys.stderr, flush=True)
            sys.stdout.buffer.write(text)
            sys.stdout.flush()

    return _question(env, name, answer)


def _log(engine, target):
    """The log and what it is of. Raises ThawError."""
    from thaw import local, records
    from thaw.digest import Digest
    from thaw.nodes import from_proto
    from thaw.store import MissingBlob

    record = records.load(target.manifest)
    kept = local.kept_directory(engine.store, target.name) / "log"
    if kept.exists() and (record is None or kept.stat().st_mtime > record.run.time):
        return f"failed {_date(kept.stat().st_mtime)}: {kept}", kept.read_bytes()
    if record is None:
        raise ThawError(f"{target.name}: was not built yet", remedy="build it, and ask again")
    action = Digest.parse(record.run.action)
    title = f"action {action.hash[:12]}, {record.run.outcome} {_date(record.run.time)}"
    result = engine.store.get_result(action)
    if result is None:
        raise ThawError(
            f"{target.name}: {title}: its result is not in this machine's cache",
            remedy="build it again, and ask again",
        )
    if not result.HasField("stdout_digest"):
        return f"{title}: printed nothing", result.stdout_raw
    try:
        return title, engine.store.read(from_proto(result.stdout_digest))
    except MissingBlob as error:
        raise ThawError(
            f"{target.name}: {title}: its log is not in this machine's cache"
        ) from error


def _date(seconds):
    return datetime.datetime.fromtimestamp(seconds).isoformat(" ", timespec="seconds")


def graph_target(env, name):
    """Draw the steps: ``graph.dot`` and ``graph.svg`` in the directory of results."""
    before, arguments = _arguments(name)
    out = env["THAW_OUT"]
    toolchain = env.ThawToolchain(env.ThawData("toolchains/graphviz.yaml"))

    def write(target, source, env):
        from thaw import graph
        from thaw.files import write_atomically
        from thaw.survey import closure

        targets = _targets(env)
        try:
            wanted = _wanted(targets, arguments or before) if arguments or before else [*targets]
            own = {f"{out}/manifests/{name}.json", str(toolchain)}
            paths = [path for path in wanted if path not in own]
            boxes = [_box(env["THAW_ENGINE"], targets, path) for path in closure(targets, paths)]
            write_atomically(Path(f"{out}/graph.dot"), graph.dot(boxes).encode())
        except (ThawError, OSError) as error:
            raise BuildError(target[0], str(error), 2, 2) from error

    text = env.Command(f"{out}/graph.dot", [], env.Action(write, None))
    env.AlwaysBuild(text)
    if before:
        env.Requires(text, env.arg2nodes(before, env.fs.Entry))
    drawing = env.ThawStep(
        name,
        toolchain=toolchain,
        argv=["bash", "-euc", DRAW],
        inputs={"/src/graph.dot": {"file": f"{out}/graph.dot"}},
        outputs=["graph.svg"],
        lay_out={"graph.svg": f"{out}/graph.svg"},
    )
    return env.Alias(name, env.ThawFiles(drawing))


def _box(engine, targets, path):
    from thaw import graph, records

    target = targets[path]
    record = records.load(target.manifest)
    return graph.Box(
        name=target.name,
        needs=[targets[need].name for need in target.needs if need in targets],
        outcome=record.last if record else "",
        seconds=record.run.took if record else None,
        size=_size(engine.store, target.manifest),
    )


def _size(store, manifest):
    """Bytes of a step's outputs, or None if that can't be told without fetching them."""
    from thaw.nodes import FileNode
    from thaw.step import Manifest
    from thaw.store import MissingBlob

    total = 0
    try:
        for node in Manifest.read(manifest).outputs.values():
            if isinstance(node, FileNode):
                total += node.digest.size
            else:
                for _, directory in store.read_tree(node):
                    total += sum(file.digest.size_bytes for file in directory.files)
    except (ThawError, MissingBlob):
        return None
    return total


# --profile


def _profile(env):
    """Write our own trace where SCons' ``--profile`` would leave one of Python functions."""
    global _profiled
    path = SCons.Script.GetOption("profile_file")
    if not path or _profiled or SCons.Script.GetOption("help"):
        return
    from thaw import profile, progress, trace

    _profiled = True
    if not Path(path).absolute().parent.is_dir():
        print(f"thaw: --profile={path}: there is no such directory", file=sys.stderr)
        raise SystemExit(2)
    _stop_python_profiler()
    start, now = profile.process_start(), time.monotonic()
    trace.add("SCons", "start of Python and SCons", start, now)

    def finish():
        # SCons has left its own file there by now.
        try:
            spans = [*trace.spans]
            first = min((span.start for span in spans[1:]), default=time.monotonic())
            spans.append(
                trace.Span("SCons", "read SConstruct, look for work", now, first, spans[0].thread)
            )
            targets = _targets(env)
            known = {path: target.name for path, target in targets.items()}
            needs = {
                target.name: [known[need] for need in target.needs if need in known]
                for target in targets.values()
            }
            found = profile.critical_path(spans, needs)
            profile.write(Path(path), profile.events(spans, found, start))
            text = profile.line(found)
            if text and not SCons.Script.GetOption("silent"):
                progress.say(f"thaw: {text}")
        except OSError as error:
            print(f"thaw: --profile={path}: {error.strerror}", file=sys.stderr)

    atexit.register(finish)


def _stop_python_profiler():
    """cProfile, which SCons has started, would slow down what is measured."""
    frame = sys._getframe()
    while frame is not None:
        if frame.f_code.co_name == "runcall" and "self" in frame.f_locals:
            frame.f_locals["self"].disable()
            return
        frame = frame.f_back
