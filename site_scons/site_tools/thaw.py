"""The SCons tool ``thaw``: hermetic, cached steps as SCons targets.

``Environment(tools=["thaw"])`` gives the builders of every kind of artifact, and beneath them

    env.ThawToolchain(description)            a toolchain's manifest
    env.ThawStep(name, toolchain=..., argv=..., inputs=..., outputs=..., lay_out=...)

Each returns the node of a manifest (see ``thaw.step``), which other steps take as an input:
``env.ThawOutput(manifest, "name")``. Construction variables: THAW_OUT, the directory of all
results (default ``out``); THAW_DATA, the directory with this project's recipes and toolchains.
"""

import atexit
import os
import sys
from pathlib import Path

_SITE = Path(__file__).resolve().parent.parent

# SCons loads this file as the module ``thaw``, the name of the engine's package: make it one.
__path__ = [str(_SITE / "thaw")]

import SCons.Errors
import SCons.Script
from SCons.Action import Action
from SCons.Node.Python import Value

from thaw import config, engine, interrupt, progress, summary
from thaw.errors import ThawError
from thaw.step import Step, files_of, record_path

KINDS = ("sources", "toolchain", "qemu", "kernel", "rootfs", "firmware", "snapshot", "bundle")
KINDS += ("verify", "commands")

OPTIONS = {
    "disk-cache": ("DIR", "directory of the cache (default: $XDG_CACHE_HOME/thaw)"),
    "distdir": ("DIR", "look for archives in this directory before the network"),
    "debian-mirror": ("URL", "base address of a Debian archive (default: the one apt uses)"),
    "npm-registry": ("URL", "address of the npm registry (default: the one npm uses)"),
}

_engine = None


def generate(env):
    """Add the builders, the command line options and the summary."""
    env.SetDefault(THAW_OUT="out", THAW_DATA=str(_SITE.parent))
    _once(env)
    env["THAW_ENGINE"] = _engine
    env.AddMethod(thaw_step, "ThawStep")
    env.AddMethod(thaw_toolchain, "ThawToolchain")
    env.AddMethod(thaw_output, "ThawOutput")
    env.AddMethod(thaw_data, "ThawData")
    env.AddMethod(thaw_recipe, "ThawRecipe")
    env.AddMethod(lambda env: reported(), "ThawReported")
    for kind in KINDS:
        env.Tool(kind, toolpath=[str(_SITE / "site_tools")])


def exists(env):
    return sys.platform == "linux"


def _once(env):
    """What must be done once in a process, however many environments there are."""
    global _engine
    if _engine is not None:
        return
    for name, (kind, text) in OPTIONS.items():
        SCons.Script.AddOption(f"--{name}", dest=_variable(name), metavar=kind, nargs=1, help=text)
    SCons.Script.SetOption("num_jobs", os.cpu_count() or 1)
    if not SCons.Script.GetOption("no_exec"):
        os.makedirs(env["THAW_OUT"], exist_ok=True)  # SCons would announce it
    SCons.Script.SConsignFile(os.path.join(env["THAW_OUT"], ".sconsign"))
    # Never time stamps: SCons keeps them in seconds, and an edit can be quicker than that.
    SCons.Script.Decider("content")
    SCons.Script.SetOption("hash_format", "sha256")
    interrupt.install()
    values = {name: SCons.Script.GetOption(name) for name in map(_variable, OPTIONS)}
    with reported():
        settings = config.load(Path.cwd(), values)
        _engine = engine.create(settings, _SITE.parent / "toolchains" / "bubblewrap.yaml")
    if not SCons.Script.GetOption("no_exec"):
        atexit.register(_summary)


def _variable(option):
    return option.replace("-", "_")


def _summary():
    failed = bool(SCons.Script.GetBuildFailures())
    text = summary.text(progress.finished, progress.results, failed)
    if text and not SCons.Script.GetOption("silent"):
        print(text)


class reported:
    """Turns the engine's errors, while the graph is read, into one message and exit code 2."""

    def __enter__(self):
        return self

    def __exit__(self, kind, error, trace):
        if isinstance(error, ThawError):
            print(f"thaw: {error}", file=sys.stderr)
            raise SystemExit(2)


def manifest_path(env, name):
    """Where a step's manifest goes: ``out/manifests/<name>.json``."""
    return f"{env['THAW_OUT']}/manifests/{name}.json"


def thaw_data(env, path):
    """A file of this project (a recipe, a toolchain), wherever the SConstruct is."""
    return os.path.join(env["THAW_DATA"], path)


def thaw_recipe(env, directory, *names):
    """Files of this project as inputs under /src/recipe/."""
    return {
        f"/src/recipe/{name}": {"file": thaw_data(env, f"{directory}/{name}")} for name in names
    }


def thaw_output(env, manifest, output):
    """An output of another step, as an input."""
    return {"manifest": _path(manifest), "output": output}


def thaw_step(
    env, name, *, toolchain, argv, inputs, outputs, lay_out=None, trees=(), hint="", **more
):
    """A target that runs a step. ``lay_out`` says where outputs are wanted as files.

    For an output that is a directory (named in ``trees``), ``lay_out`` names one file in it, by
    which SCons sees whether it is there: ``{"bundle": "out/bundle/index.html"}``. ``hint`` tells
    in the summary what to do with the result.
    """
    lay_out = lay_out or {}
    directories = {output: os.path.dirname(lay_out[output]) for output in trees}
    step = Step(
        name=name,
        argv=tuple(argv),
        toolchain=_path(toolchain),
        inputs=inputs,
        outputs=tuple(outputs),
        lay_out={**lay_out, **directories},
        **more,
    )
    sources = [toolchain, Value(step.to_json()), Value(_generation())]
    for path in files_of(inputs.values()):
        sources += _listing(path) if os.path.isdir(path) else [env.File(_relative(path))]
    targets = env.Command(
        [manifest_path(env, name), *lay_out.values()],
        sources,
        Action(_run_step, _announce),
        THAW_STEP=step,
        THAW_HINT=hint,
    )
    records = [str(record_path(Path(manifest_path(env, name))))]
    env.Clean(targets, [*directories.values(), *records])
    return targets[0]


def thaw_toolchain(env, description):
    """A target that makes a toolchain's tree."""
    name = Path(description).stem
    lock = str(Path(description).with_suffix(".lock"))
    (target,) = env.Command(
        manifest_path(env, f"toolchain-{name}"),
        [_relative(description), _relative(lock), Value(_generation())],
        Action(_run_toolchain, _announce),
    )
    env.Clean(target, str(record_path(Path(str(target)))))
    with reported():
        if engine.uses_installed(Path(description)):
            env.AlwaysBuild(target)
    return target


def _generation():
    """Changes when the cache is another one: manifests of a lost cache don't count."""
    return _engine.store.generation


def _listing(top):
    """A directory's files, and as a value what SCons doesn't see: links, modes, empty dirs."""
    entries, files = [], []
    for directory, names, others in os.walk(top):
        names.sort()
        for name in sorted(names + others):
            path = os.path.join(directory, name)
            if os.path.islink(path):
                entries.append(f"{path} -> {os.readlink(path)}")
            elif os.path.isdir(path):
                entries.append(f"{path}/")
            else:
                entries.append(f"{path} {'x' if os.access(path, os.X_OK) else '-'}")
                files.append(SCons.Script.File(_relative(path)))
    return [*files, Value("\n".join(entries))]


def _path(node):
    return node if isinstance(node, str) else node.get_path()


def _relative(path):
    """SCons' form of a path that does not depend on the current directory."""
    return path if os.path.isabs(path) or path.startswith("#") else f"#{path}"


def _announce(target, source, env):
    step = env.get("THAW_STEP")
    return f"{target[0]}: {step.name if step else 'toolchain'}" if _dry_run() else None


def _dry_run():
    return SCons.Script.GetOption("no_exec")


def _run_step(target, source, env):
    step = env["THAW_STEP"]
    _run(step.name, target[0], lambda path: _engine.run_step(step, path))
    for path in step.lay_out.values():
        progress.results[path] = env["THAW_HINT"]


def _run_toolchain(target, source, env):
    description = Path(str(source[0]))
    name = f"toolchain {description.stem}"
    _run(name, target[0], lambda path: _engine.run_toolchain(description, path))


def _run(name, target, run):
    try:
        result = run(Path(target.get_path()))
    except interrupt.Interrupted as error:
        raise SCons.Errors.BuildError(target, f"{name}: interrupted", 130, 130) from error
    except ThawError as error:
        raise SCons.Errors.BuildError(target, str(error), 2, 2) from error
    except OSError as error:
        raise SCons.Errors.BuildError(target, engine.explain_os_error(name, error), 2, 2) from error
    progress.record(progress.Done(name, "cached" if result.cached else "built", result.seconds))
