"""Where this machine gets packages from: its own apt, npm and project configuration.

No registry's name is written in this project. A machine without apt or npm says where with
``--debian-mirror=URL``, ``--npm-registry=URL`` or the configuration file.
"""

import os
import shutil
import subprocess
from functools import cache
from pathlib import Path

APT = Path("/etc/apt")


@cache
def apt_archives() -> tuple[str, ...]:
    """Base addresses of the Debian archives this machine's apt uses (``…/debian/``)."""
    if not shutil.which("apt-get"):
        return ()
    done = subprocess.run(
        ["apt-get", "indextargets", "--format", "$(REPO_URI)\t$(ORIGIN)\t$(SITE)"],
        capture_output=True,
        text=True,
        timeout=60,
    )
    rows = [line.split("\t") for line in done.stdout.splitlines()]
    found = [row[0] for row in rows if len(row) == 3 and row[1] == "Debian"]
    found += _apt_sources()
    return tuple(dict.fromkeys(url for url in found if "security" not in url))


def _apt_sources() -> list[str]:
    """Archive addresses from apt's source files: index targets exist only after an update."""
    words: list[str] = []
    for path in sorted([APT / "sources.list", *APT.glob("sources.list.d/*")]):
        try:
            lines = path.read_text().splitlines()
        except OSError:
            continue
        for line in lines:
            if line.startswith(("deb ", "URIs:")):
                words += line.split()
    return [w.rstrip("/") + "/" for w in words if "://" in w and w.rstrip("/").endswith("/debian")]


@cache
def npm_registry() -> str | None:
    """The npm registry of this machine: the client's environment variable, else the client's."""
    named = os.environ.get("npm_config_registry") or os.environ.get("NPM_CONFIG_REGISTRY")
    if named:
        return named.rstrip("/")
    if not shutil.which("npm"):
        return None
    done = subprocess.run(
        ["npm", "config", "get", "registry"], capture_output=True, text=True, timeout=60
    )
    text = done.stdout.strip()
    return text.rstrip("/") if text.startswith(("http://", "https://")) else None
