"""Targets that do something instead of making something: serve, relock, test."""

import subprocess
import sys
from pathlib import Path

from SCons.Errors import BuildError

from thaw import interrupt, relock
from thaw.errors import ThawError

SUITES = ("unit", "integration", "e2e", "all")


def generate(env):
    env.AddMethod(serve, "Serve")
    env.AddMethod(relock_target, "Relock")
    env.AddMethod(tests, "Tests")


def exists(env):
    return True


def _run(target, command):
    """Run a command that is meant for the terminal; its failure is the target's."""
    process = subprocess.Popen(command)
    while True:
        try:
            code = process.wait(0.2)
            break
        except subprocess.TimeoutExpired:
            if interrupt.pending():
                process.terminate()
    if code and not interrupt.pending():
        raise BuildError(target, f"{command[0]}: exit code {code}", code, code)


def serve(env, name, *, directory, bundle, port):
    """Serve a bundle on 127.0.0.1 until Ctrl-C."""
    server = Path(env.ThawData("site_scons/thaw/server.py"))

    def action(target, source, env):
        _run(target[0], [sys.executable, str(server), str(directory), "--port", str(port)])

    return env.ThawAlways(name, bundle, action)


def relock_target(env, name, descriptions):
    """Renew every toolchain's lock and say what changed."""

    def action(target, source, env):
        mirrors = env["THAW_ENGINE"].fetcher.debian_mirrors
        for description in descriptions:
            path = Path(str(description))
            try:
                changed = relock.relock(path, mirrors)
            except ThawError as error:
                raise BuildError(target[0], str(error), 2, 2) from error
            print(f"{path.with_suffix('.lock')}: {len(changed)} packages changed")
            for line in changed:
                print(f"  {line}")

    return env.ThawAlways(name, [], action)


def tests(env, name, *, suite, verify):
    """Static checks and the suites of tests/; the last of them on the real bundle."""
    if suite not in SUITES:
        print(f"thaw: SUITE={suite}: must be one of {', '.join(SUITES)}", file=sys.stderr)
        raise SystemExit(2)
    python = [sys.executable, "-m"]
    typed = ["site_scons/thaw", "qemu/recipes", "images/recipes", "web/recipes", "tests", "bench"]
    commands = {
        "unit": [
            [*python, "ruff", "check", "--quiet"],
            [*python, "ruff", "format", "--check", "--quiet"],
            [*python, "mypy", *typed],
            [*python, "pytest", "tests/unit"],
        ],
        "integration": [[*python, "pytest", "tests/integration"]],
        "e2e": [[*python, "pytest", "tests/e2e"]],
    }
    previous = []
    for step in SUITES[:-1]:
        if suite not in ("all", step):
            continue

        def action(target, source, env, step=step):
            for command in commands[step]:
                _run(target[0], command)

        # One after the other, and only the quick ones beside a build.
        depends = previous if step == "unit" or suite == "integration" else [*previous, verify]
        previous = [env.ThawAlways(f"test-{step}", depends, action)]
    return env.Alias(name, previous)
