"""Reads a list of locked archives (``qemu/source.yaml``) into inputs of steps."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from thaw import yamlfile

ORIGINS = ("debian", "npm", "url")
SCHEMA: dict[str, Any] = {
    "type": "object",
    "additionalProperties": False,
    "required": ["sources"],
    "properties": {
        "debian-patches": {"type": "array", "items": {"type": "string"}},
        "sources": {
            "type": "object",
            "additionalProperties": {
                "type": "object",
                "additionalProperties": False,
                "required": ["sha256", "size"],
                "properties": {
                    "sha256": {"type": "string", "pattern": "^[0-9a-f]{64}$"},
                    "size": {"type": "integer", "minimum": 1},
                    "integrity": {"type": "string", "pattern": "^sha512-"},
                    "debian": {"type": "string"},
                    "npm": {"type": "string", "pattern": "^(@[^@/]+/)?[^@/]+@[^@/]+$"},
                    "url": {"type": "string"},
                },
            },
        },
    },
}


@dataclass(frozen=True)
class Listed:
    """The archives of a yaml file by name, as inputs, and the Debian patches they need."""

    archives: Mapping[str, Mapping[str, Any]]
    debian_patches: Sequence[str]

    def __getitem__(self, name: str) -> Mapping[str, Any]:
        return self.archives[name]


def read(path: Path) -> Listed:
    """Raises ThawError for a file that is not as the schema says."""
    document = yamlfile.load_document(path, SCHEMA)
    archives = {}
    for name, entry in document.value["sources"].items():
        if sum(key in entry for key in ORIGINS) != 1:
            raise document.error(
                ["sources", name],
                f"sources.{name}: says not once where it comes from",
                f"give one of {', '.join(ORIGINS)}",
            )
        archives[name] = {"source": {"name": file_name(entry), **entry}}
    return Listed(archives, document.value.get("debian-patches", []))


def file_name(entry: Mapping[str, Any]) -> str:
    """What the file is called where it comes from, and in a ``--distdir``."""
    if "npm" in entry:
        name, _, version = entry["npm"].rpartition("@")
        return f"{name.rpartition('/')[2]}-{version}.tgz"
    return str(entry.get("debian") or entry["url"]).rpartition("/")[2]
