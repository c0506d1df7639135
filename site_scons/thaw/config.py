"""Settings: defaults, then the user's file, the project's file, then the command line.

The files are ``$XDG_CONFIG_HOME/thaw/config.yaml`` (else ``~/.config/thaw/config.yaml``) and
``thaw.yaml`` beside the SConstruct. Their keys are the options' names without dashes in front::

    disk-cache: /big/disk/thaw
    distdir: [/srv/distfiles]
"""

import os
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

from thaw import yamlfile
from thaw.errors import ThawError


@dataclass(frozen=True)
class Config:
    """Settings of a run. None of them can change a result."""

    disk_cache: str = ""
    distdir: tuple[str, ...] = ()
    debian_mirror: tuple[str, ...] = ()
    npm_registry: str = ""
    max_size: str = ""
    remote_cache: str = ""
    remote_executor: str = ""
    remote_upload: bool = False
    remote_instance: str = ""
    remote_timeout: int = 60
    remote_header_file: str = ""
    tls_ca: str = ""
    tls_client_certificate: str = ""
    tls_client_key: str = ""

    @property
    def cache_directory(self) -> Path:
        if self.disk_cache:
            return Path(self.disk_cache).expanduser().absolute()
        base = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
        return Path(base).expanduser() / "thaw"


_LIST = {"type": ["string", "array"], "items": {"type": "string"}}
SCHEMA: dict[str, Any] = {
    "type": ["object", "null"],
    "additionalProperties": False,
    "properties": {
        "disk-cache": {"type": "string"},
        "distdir": _LIST,
        "debian-mirror": _LIST,
        "npm-registry": {"type": "string"},
        "max-size": {"type": ["string", "integer"]},
        "remote-cache": {"type": "string"},
        "remote-executor": {"type": "string"},
        "remote-upload": {"type": "boolean"},
        "remote-instance": {"type": "string"},
        "remote-timeout": {"type": "integer", "minimum": 1},
        "remote-header-file": {"type": "string"},
        "tls-ca": {"type": "string"},
        "tls-client-certificate": {"type": "string"},
        "tls-client-key": {"type": "string"},
    },
}


def files(project: Path) -> list[Path]:
    """The configuration files that exist, weakest first."""
    base = os.environ.get("XDG_CONFIG_HOME") or "~/.config"
    user = Path(base).expanduser() / "thaw" / "config.yaml"
    return [path for path in (user, project / "thaw.yaml") if path.is_file()]


def load(project: Path, options: Mapping[str, Any]) -> Config:
    """Raises ThawError for a file that is not as the schema says."""
    config = Config()
    for path in files(project):
        values = yamlfile.load(path, SCHEMA) or {}
        config = _with(config, {key.replace("-", "_"): value for key, value in values.items()})
    return _with(config, {key: value for key, value in options.items() if value})


def _with(config: Config, values: Mapping[str, Any]) -> Config:
    known = {field.name: field for field in fields(Config)}
    changes: dict[str, Any] = {}
    for key, value in values.items():
        if isinstance(value, str) and type(getattr(Config(), known[key].name)) is int:
            value = _number(key, value)
        is_list = isinstance(getattr(Config(), known[key].name), tuple)
        changes[key] = (value,) if is_list and isinstance(value, str) else value
        if is_list:
            changes[key] = tuple(changes[key])
    return replace(config, **changes)


def _number(key: str, text: str) -> int:
    try:
        return int(text)
    except ValueError as error:
        raise ThawError(f"--{key.replace('_', '-')}={text}: not a whole number") from error
