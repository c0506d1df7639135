"""Renews locks: asks apt which exact files a toolchain's packages are now.

apt runs with a private, empty root: nothing of this machine's own package state is read or
written, only its archive address and its archive keys. Needs no root.
"""

import json
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from urllib.parse import unquote

from thaw import registries, toolchain, yamlfile
from thaw.errors import ThawError
from thaw.files import write_atomically


def relock(description: Path, mirrors: Sequence[str]) -> list[str]:
    """Write ``<name>.lock`` beside a toolchain's yaml; what changed, a line each.

    Raises ThawError.
    """
    spec = yamlfile.load(description, toolchain.SCHEMA)
    addresses = list(mirrors) or list(registries.apt_archives())
    if not shutil.which("apt-get") or not addresses:
        raise ThawError(
            "relock: needs apt-get and the address of a Debian archive",
            remedy="run it on a Debian machine, or name an archive with --debian-mirror=URL",
        )
    packages = resolve(spec["suite"], spec["packages"], addresses[0])
    path = description.with_suffix(".lock")
    before = toolchain.read_lock(path)["packages"] if path.exists() else []
    rows = ",\n".join("  " + json.dumps(package, sort_keys=True) for package in packages)
    asked = json.dumps(sorted(spec["packages"]))
    text = f'{{"suite": "{spec["suite"]}",\n "asked": {asked},\n "packages": [\n{rows}\n]}}\n'
    write_atomically(path, text.encode())
    return changes(before, packages)


def resolve(suite: str, packages: Sequence[str], archive: str) -> list[dict[str, Any]]:
    """The closure of ``packages`` in unpacking order: path in the archive, sha256, size."""
    with tempfile.TemporaryDirectory() as top:
        for name in ("state/lists/partial", "cache/archives/partial"):
            Path(top, name).mkdir(parents=True)
        Path(top, "state/status").touch()
        Path(top, "sources.list").write_text(f"deb {archive} {suite} main\n")
        settings = {
            "Dir::State": f"{top}/state",
            "Dir::State::status": f"{top}/state/status",
            "Dir::Cache": f"{top}/cache",
            "Dir::Etc::SourceList": f"{top}/sources.list",
            "Dir::Etc::SourceParts": "/dev/null",
            "APT::Architecture": "amd64",
            "APT::Architectures": "amd64",
            "APT::Install-Recommends": "false",
            "Acquire::ForceHash": "SHA256",
            "Acquire::Languages": "none",
        }
        options = [word for key, value in settings.items() for word in ("-o", f"{key}={value}")]
        _apt([*options, "update"])
        listing = _apt([*options, "install", "--print-uris", "-y", *packages])
    found = []
    for line in listing.splitlines():
        if line.startswith("'"):
            address, _, size, checksum = line.split()
            path = unquote(address.strip("'")).removeprefix(archive)
            sha256 = checksum.removeprefix("SHA256:")
            found.append({"debian": path.lstrip("/"), "sha256": sha256, "size": int(size)})
    # apt's order follows its solver: the lock's is by name.
    return sorted(found, key=lambda package: str(package["debian"]).rpartition("/")[2])


def _apt(arguments: Sequence[str]) -> str:
    done = subprocess.run(["apt-get", *arguments], capture_output=True, text=True)
    if done.returncode:
        raise ThawError(
            f"relock: apt-get failed:\n{done.stderr.strip()}",
            remedy="check the packages' names in the yaml, and the network",
        )
    return done.stdout


def changes(before: Sequence[dict[str, Any]], after: Sequence[dict[str, Any]]) -> list[str]:
    """``package 1.2 -> 1.3`` for what differs between two locks."""
    old, new = (dict(map(_name_version, packages)) for packages in (before, after))
    return [
        f"{name} {old.get(name, '(new)')} -> {new.get(name, '(gone)')}"
        for name in sorted(old.keys() | new.keys())
        if old.get(name) != new.get(name)
    ]


def _name_version(package: dict[str, Any]) -> tuple[str, str]:
    name, _, rest = str(package["debian"]).rpartition("/")[2].partition("_")
    return name, rest.rpartition("_")[0]
