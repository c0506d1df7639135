"""Targets for the cache: how large it is and of what, and making it smaller.

./sconsw cache-info                      all of it
./sconsw cache-info wasm-bundle          what a step, and all it is made from, keeps in it
./sconsw cache-gc MAX_SIZE=10G           removes what was not used for longest
./sconsw -n cache-gc MAX_AGE=30d         says what it would remove
"""

import time

import SCons.Script
from SCons.Errors import BuildError

from thaw.errors import ThawError

# The rest is imported late: a build that has nothing to do must not wait for it.

DEFAULT_AGE = "30d"  # of cache-gc, where no limit is given or configured


def generate(env):
    env.AddMethod(info_target, "CacheInfo")
    env.AddMethod(gc_target, "CacheGc")


def exists(env):
    return True


def info_target(env, name):
    """Say how large the cache is, or what the steps named after it keep there."""

    def answer(targets, wanted):
        from thaw import inventory, usage

        store = env["THAW_ENGINE"].store
        found = inventory.take(store.top)
        if SCons.Script.COMMAND_LINE_TARGETS[-1] == name:
            names = {action: name for name, (action, _) in _known(targets, targets).items()}
            print(usage.overview(found, names, len(store.running()) - 1, time.time()))
            return
        from thaw.survey import closure

        steps = _known(targets, closure(targets, wanted))
        rows = {
            name: usage.kept(found, outputs, [action]) for name, (action, outputs) in steps.items()
        }
        outputs = [node for _, nodes in steps.values() for node in nodes]
        total = usage.kept(found, outputs, [action for action, _ in steps.values()])
        print(usage.of_steps(rows, total))

    return env.ThawQuestion(name, answer)


def _known(targets, manifests):
    """Name of each step that was built here: its action's hash, and its outputs."""
    from thaw import records
    from thaw.step import Manifest

    found = {}
    for path in manifests:
        record = records.load(targets[path].manifest)
        if record and targets[path].manifest.exists():
            outputs = list(Manifest.read(path).outputs.values())
            found[targets[path].name] = record.run.action.partition("/")[0], outputs
    return found


def gc_target(env, name, *, max_size="", max_age=""):
    """Evict what was not used for longest. Of no limit: what MAX_SIZE, MAX_AGE or max-size say."""

    def run(dry_run):
        from thaw import gc

        size = max_size or env["THAW_ENGINE"].max_size
        age = max_age or (DEFAULT_AGE if not size else "")
        limits = gc.Limits(
            gc.parse_size(size, "MAX_SIZE") if size else None,
            gc.parse_age(age, "MAX_AGE") if age else None,
        )
        return gc.collect(env["THAW_ENGINE"].store, limits, dry_run)

    def action(target, source, env):
        try:
            print(run(dry_run=False))
        except (ThawError, OSError) as error:
            raise BuildError(target[0], str(error), 2, 2) from error

    def announce(target, source, env):
        return run(dry_run=True) if SCons.Script.GetOption("no_exec") else None

    node = env.Alias(name, [], env.Action(action, announce))
    env.AlwaysBuild(node)
    return node
