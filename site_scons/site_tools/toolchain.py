"""Toolchains: ``env.Toolchain("toolchains/native.yaml")``, and ``env.Relock`` to renew locks."""

from pathlib import Path


def generate(env):
    env.AddMethod(toolchain, "Toolchain")


def exists(env):
    return True


def toolchain(env, description):
    """The manifest of a toolchain's tree."""
    return env.ThawToolchain(str(Path(env.File(description).srcnode().get_path())))
