"""By what two actions of a step differ, in words. Pure."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from thaw.plans import Change, Input, Plan

DIGITS = 12  # of a digest that is shown to a person


def differences(old: Plan, new: Plan) -> list[Change]:
    """Everything by which two actions of a step differ, leaves first."""
    if old.action == new.action:
        return []
    found = [
        *_argv(old.argv, new.argv),
        *_settings("environment", old.environment, new.environment),
        *_settings("platform", old.platform, new.platform),
        *_outputs(old.asked, new.asked),
    ]
    sources: list[Change] = []
    for path in sorted(old.inputs.keys() | new.inputs.keys()):
        sources += _input(path, old.inputs.get(path), new.inputs.get(path))
    found += [change for change in sources if not change.manifest]
    if old.root != new.root:
        line = f"new toolchain: {short(old.root)} -> {short(new.root)}"
        found.append(Change(line, new.toolchain, "root", old.root, new.root))
    found += [change for change in sources if change.manifest]
    return found or [Change("the key is made otherwise: another version of Thaw, or of the lock")]


def _argv(old: Sequence[str], new: Sequence[str]) -> Iterator[Change]:
    if old == new:
        return
    if len(old) != len(new):
        gone = [word for word in old if word not in new]
        added = [word for word in new if word not in old]
        words = [f"-{_quoted(word)}" for word in gone] + [f"+{_quoted(word)}" for word in added]
        yield Change(f"command line changed: {' '.join(words) or 'order of the words'}")
        return
    for before, after in zip(old, new, strict=True):
        if before != after:
            yield Change(f"command line changed: {_quoted(before)} -> {_quoted(after)}")


def _quoted(word: str) -> str:
    first = word if len(word) <= 60 else word[:57] + "..."
    return repr(first)


def _settings(kind: str, old: Mapping[str, Any], new: Mapping[str, Any]) -> Iterator[Change]:
    for name in sorted(old.keys() | new.keys()):
        if name not in old:
            yield Change(f"{kind}: {name}={new[name]} added")
        elif name not in new:
            yield Change(f"{kind}: {name}={old[name]} removed")
        elif old[name] != new[name]:
            yield Change(f"{kind}: {name} changed: {old[name]} -> {new[name]}")


def _outputs(old: Iterable[str], new: Iterable[str]) -> Iterator[Change]:
    for name in sorted({*old} ^ {*new}):
        yield Change(f"output {name} {'added' if name in set(new) else 'removed'}")


def _input(path: str, old: Input | None, new: Input | None) -> list[Change]:
    if old and new and old.digest == new.digest:
        return []
    some = new or old
    assert some is not None  # one of the two has this path
    if "package" in some.origin:
        return [Change(_package(path, old, new))]
    what = _what(path, some)
    if old is None or new is None:
        return [Change(f"input {path} {'removed' if new is None else 'added'}: {what}")]
    if "manifest" in new.origin:
        line = f"input {path} changed: {_arrow(old.digest, new.digest)}"
        origin = new.origin
        return [Change(line, origin["manifest"], origin["output"], old.digest, new.digest)]
    if old.files or new.files:
        top = new.origin.get("dir", path)
        return [Change(line) for line in _files(top, old.files, new.files)]
    if "json" in new.origin and "json" in old.origin:
        lines = list(_values("", old.origin["json"], new.origin["json"]))
        return [Change(f"{path}: {line}") for line in lines]
    before = old.origin.get("source", "")
    renamed = f" (was {before})" if before != new.origin.get("source", "") and before else ""
    return [Change(f"{what} changed{renamed}: {_arrow(old.digest, new.digest)}")]


def _what(path: str, entry: Input) -> str:
    """What a person calls an input."""
    origin = entry.origin
    for key in ("file", "dir", "source", "archive"):
        if key in origin:
            return str(path if key == "archive" else origin[key])
    if "part" in origin:
        return f"the toolchain's {origin['part']}"
    if "installed" in origin:
        return f"installed toolchain {origin['installed']}"
    return f"from {origin['manifest']}" if "manifest" in origin else path


def _package(name: str, old: Input | None, new: Input | None) -> str:
    if old is None or new is None:
        some = new or old
        assert some is not None
        return f"package {name} {some.origin['package']} {'removed' if new is None else 'added'}"
    versions = old.origin.get("package", "?"), new.origin["package"]
    if versions[0] == versions[1]:
        return f"package {name} {versions[0]} changed: {_arrow(old.digest, new.digest)}"
    return f"package {name} {versions[0]} -> {versions[1]}"


def _files(top: str, old: Mapping[str, str], new: Mapping[str, str]) -> Iterator[str]:
    for name in sorted(old.keys() | new.keys()):
        path = f"{top}/{name}"
        if name not in old:
            yield f"{path} added: {short(new[name])}"
        elif name not in new:
            yield f"{path} removed: {short(old[name])}"
        elif old[name] != new[name]:
            yield f"{path} changed: {_arrow(old[name], new[name])}"


def _values(path: str, old: Any, new: Any) -> Iterator[str]:
    """The leaves by which two JSON values differ."""
    if isinstance(old, dict) and isinstance(new, dict):
        for key in sorted(old.keys() | new.keys()):
            yield from _values(f"{path}.{key}" if path else key, old.get(key), new.get(key))
    elif old != new:
        yield f"{path or 'value'} changed: {_quoted(str(old))} -> {_quoted(str(new))}"


def _arrow(old: str, new: str) -> str:
    if old.split()[0] == new.split()[0] and not old.startswith("->"):
        return "now executable" if new.endswith(" executable") else "no longer executable"
    return f"{short(old)} -> {short(new)}"


def short(digest: str) -> str:
    """The first digits of a digest; what is none, whole."""
    name, slash, _ = digest.partition("/")
    return name[:DIGITS] if slash and len(name) == 64 else digest
