"""The SCons tool ``thaw``: hermetic, cached steps as SCons targets.

``Environment(tools=["thaw"])`` gives the builders of every kind of artifact, and beneath them

    env.ThawToolchain(description)            a toolchain's manifest
    env.ThawStep(name, toolchain=..., argv=..., inputs=..., outputs=..., lay_out=...)

Each returns the node of a manifest (see ``thaw.step``), which other steps take as an input:
``env.ThawOutput(manifest, "name")``. ``env.ThawFiles(manifest)`` are the files that a step lays
out: targets of their own, so that nobody gets files that were not asked for.

Construction variables: THAW_OUT, the directory of all results (default ``out``); THAW_DATA, the
directory with this project's recipes and toolchains.
"""

import atexit
import contextlib
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

from thaw import config, engine, interrupt, layout, progress, summary
from thaw.errors import ThawError
from thaw.records import record_path
from thaw.step import Step, files_of

KINDS = ("sources", "toolchain", "qemu", "kernel", "rootfs", "firmware", "snapshot", "bundle")
KINDS += ("verify", "commands", "explain", "cache")

OPTIONS = {
    "disk-cache": ("DIR", "directory of the cache (default: $XDG_CACHE_HOME/thaw)"),
    "max-size": ("SIZE", "size to keep the cache below, such as 20G (docs/cache.md)"),
    "distdir": ("DIR", "look for archives in this directory before the network"),
    "debian-mirror": ("URL", "base address of a Debian archive (default: the one apt uses)"),
    "npm-registry": ("URL", "address of the npm registry (default: the one npm uses)"),
    "remote-cache": ("ADDRESS", "a remote cache: grpc://HOST:PORT, grpcs://... (docs/remote.md)"),
    "remote-executor": ("ADDRESS", "a service that runs actions; it has a cache, too"),
    "remote-upload": ("", "give results made here to the remote cache"),
    "remote-instance": ("NAME", "instance name on the server"),
    "remote-timeout": ("SECONDS", "how long a server may stay silent (default: 60)"),
    "remote-header-file": ("FILE", "file with headers for the server, such as a token"),
    "tls-ca": ("FILE", "certificates of the authorities to trust, instead of the system's"),
    "tls-client-certificate": ("FILE", "certificate to show to the server"),
    "tls-client-key": ("FILE", "its key"),
}
REMOTE_JOBS = 32  # actions under way at a time, where others run them

_engine = None


def generate(env):
    """Add the builders, the command line options and the summary."""
    env.SetDefault(THAW_OUT="out", THAW_DATA=str(_SITE.parent))
    _once(env)
    env["THAW_ENGINE"] = _engine
    env.AddMethod(thaw_step, "ThawStep")
    env.AddMethod(thaw_toolchain, "ThawToolchain")
    env.AddMethod(thaw_output, "ThawOutput")
    env.AddMethod(thaw_files, "ThawFiles")
    env.AddMethod(thaw_data, "ThawData")
    env.AddMethod(thaw_recipe, "ThawRecipe")
    env.AddMethod(thaw_always, "ThawAlways")
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
        how = {"metavar": kind, "nargs": 1} if kind else {"action": "store_true"}
        SCons.Script.AddOption(f"--{name}", dest=_variable(name), help=text, **how)
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
        cores = os.cpu_count() or 1
        SCons.Script.SetOption("num_jobs", REMOTE_JOBS if settings.remote_executor else cores)
        jobs = SCons.Script.GetOption("num_jobs")
        bubblewrap = _SITE.parent / "toolchains" / "bubblewrap.yaml"
        _engine = engine.create(settings, bubblewrap, jobs)
    if not SCons.Script.GetOption("no_exec"):
        atexit.register(_summary)


def _variable(option):
    return option.replace("-", "_")


def _summary():
    failed = bool(SCons.Script.GetBuildFailures())
    lines = engine.traffic(_engine)
    text = summary.text(progress.finished, progress.results, lines, failed)
    engine.close(_engine)
    if text and not SCons.Script.GetOption("silent"):
        with contextlib.suppress(BrokenPipeError):  # its reader, such as head, has seen enough
            print(text, flush=True)


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
    step = Step(
        name=name,
        argv=tuple(argv),
        toolchain=_path(toolchain),
        inputs=inputs,
        outputs=tuple(outputs),
        **more,
    )
    sources = [toolchain, Value(step.to_json()), Value(_generation())]
    for path in files_of(inputs.values()):
        sources += _listing(path) if os.path.isdir(path) else [env.File(_relative(path))]
    (target,) = env.Command(manifest_path(env, name), sources, _RUN_STEP, THAW_STEP=step)
    _clean_with(env, target, record_path)
    target.attributes.thaw_files = [target]
    if lay_out:
        wanted = {o: os.path.dirname(p) if o in trees else p for o, p in lay_out.items()}
        target.attributes.thaw_files = _lay_out(
            env, name, target, [*lay_out.values()], wanted, hint
        )
    return target


def _lay_out(env, name, manifest, files, wanted, hint):
    """Targets for what a person wants as files. ``wanted``: output -> file or directory."""
    targets = env.Command(
        files, manifest, _RUN_LAY_OUT, THAW_NAME=name, THAW_LAY_OUT=wanted, THAW_HINT=hint
    )
    env.Clean(targets, list(wanted.values()))
    _clean_with(env, targets, layout.stamps_path, manifest)
    if layout.is_touched(Path(manifest.get_path())):
        env.AlwaysBuild(targets)
    return targets


def _clean_with(env, targets, companion, manifest=None):
    """Have ``scons -c`` remove a manifest's companion too."""
    path = Path((manifest or targets).get_path())
    env.Clean(targets, str(companion(path)))


def thaw_files(env, manifest):
    """What a step lays out as files; the manifest of a step that lays nothing out."""
    return manifest.attributes.thaw_files


def thaw_toolchain(env, description):
    """A target that makes a toolchain's tree."""
    name = Path(description).stem
    lock = str(Path(description).with_suffix(".lock"))
    (target,) = env.Command(
        manifest_path(env, f"toolchain-{name}"),
        [_relative(description), _relative(lock), Value(_generation())],
        _RUN_TOOLCHAIN,
        THAW_TOOLCHAIN=str(description),
    )
    _clean_with(env, target, record_path)
    with reported():
        if engine.uses_installed(Path(description)):
            env.AlwaysBuild(target)
    return target


def thaw_always(env, name, depends, function, announce=None):
    """A name that always does something: ``function(target, source, env)``, as SCons calls it."""
    target = env.Alias(name, depends, Action(_Do(function), announce))
    env.AlwaysBuild(target)
    return target


class _Do:
    """A function whose code and closure SCons does not look into: that takes longer than to run."""

    def __init__(self, function):
        self.function = function

    def __call__(self, target, source, env):
        return self.function(target, source, env)


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
    with _errors(step.name, target[0]):
        _done(step.name, _engine.run_step(step, Path(target[0].get_path())))


def _run_lay_out(target, source, env):
    wanted = {output: Path(path) for output, path in env["THAW_LAY_OUT"].items()}
    with _errors(str(target[0]), target[0]):
        _engine.lay_out(env["THAW_NAME"], Path(source[0].get_path()), wanted)
    for path in wanted.values():
        progress.results[str(path)] = env["THAW_HINT"]


def _run_toolchain(target, source, env):
    description = Path(str(source[0]))
    name = f"toolchain {description.stem}"
    with _errors(name, target[0]):
        _done(name, _engine.run_toolchain(description, Path(target[0].get_path())))


def _done(name, result):
    progress.record(progress.Done(name, result.outcome, result.seconds))


@contextlib.contextmanager
def _errors(name, target):
    """Turns the engine's errors into SCons' own."""
    try:
        yield
    except interrupt.Interrupted as error:
        raise SCons.Errors.BuildError(target, f"{name}: interrupted", 130, 130) from error
    except ThawError as error:
        raise SCons.Errors.BuildError(target, str(error), 2, 2) from error
    except OSError as error:
        raise SCons.Errors.BuildError(target, engine.explain_os_error(name, error), 2, 2) from error


# Once: SCons looks into the code of each action that is made.
_RUN_STEP, _RUN_LAY_OUT, _RUN_TOOLCHAIN = (
    Action(run, _announce) for run in (_run_step, _run_lay_out, _run_toolchain)
)
