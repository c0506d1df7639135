"""Targets for the cache: how large it is and of what, and making it smaller.

./sconsw cache-info                      all of it
./sconsw cache-info wasm-bundle          what a step, and all it is made from, keeps in it
./sconsw cache-gc MAX_SIZE=10G           removes what was not used for longest
./sconsw -n cache-gc MAX_AGE=30d         says what it would remove
"""

import os
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
            names = dict(map(_action, targets.values()))
            print(usage.overview(found, names, len(store.running()) - 1, time.time()))
            return
        from thaw.survey import closure

        steps = {targets[path].name: _outputs(path) for path in closure(targets, wanted)}
        rows = {step: usage.kept(found, outputs) for step, outputs in steps.items() if outputs}
        every = [node for outputs in steps.values() for node in outputs]
        print(usage.of_steps(rows, usage.kept(found, every)))

    return env.ThawQuestion(name, answer)


def _action(target):
    """The hash of the action that a step last was, and its name."""
    from thaw import records

    record = records.load(target.manifest)
    return record.plan.action.partition("/")[0] if record else "", target.name


def _outputs(manifest):
    """What a step made; nothing if it was never built here."""
    from thaw.step import Manifest

    return list(Manifest.read(manifest).outputs.values()) if os.path.exists(manifest) else []


def gc_target(env, name, *, max_size="", max_age=""):
    """Evict what was not used for longest. Of no limit: what MAX_SIZE, MAX_AGE or max-size say."""

    def limits():
        from thaw import gc

        size = max_size or env["THAW_ENGINE"].max_size
        age = max_age or (DEFAULT_AGE if not size else "")
        return gc.Limits(
            gc.parse_size(size, "MAX_SIZE") if size else None,
            gc.parse_age(age, "MAX_AGE") if age else None,
        )

    def run(dry_run):
        from thaw import gc

        return gc.collect(env["THAW_ENGINE"].store, limits(), dry_run)

    if max_size or max_age:
        with env.ThawReported():
            limits()

    def action(target, source, env):
        try:
            print(run(dry_run=False))
        except (ThawError, OSError) as error:
            raise BuildError(target[0], str(error), 2, 2) from error

    def announce(target, source, env):
        return run(dry_run=True) if SCons.Script.GetOption("no_exec") else None

    return env.ThawAlways(name, [], action, announce)
