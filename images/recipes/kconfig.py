"""Kconfig fragments: what was asked for, what came out, and the difference.

Linux and BusyBox both drop, without a word, an option whose dependencies are missing or whose
name does not exist. `check` says so, with the line of the fragment that was lost.
"""

import re
import sys
from pathlib import Path

_SET = re.compile(r"CONFIG_(\w+)=(.*)")
_UNSET = re.compile(r"# CONFIG_(\w+) is not set")


def parse(path: Path) -> dict[str, tuple[str, int]]:
    """Option name (without CONFIG_) -> (value, line number) of a fragment or a .config.

    An option that is off has the value "n". Exits with one message at the first line that is
    neither an option, a comment nor blank, or that repeats an option.
    """
    options: dict[str, tuple[str, int]] = {}
    for number, line in enumerate(path.read_text().splitlines(), start=1):
        line = line.strip()
        if match := _UNSET.fullmatch(line):
            name, value = match[1], "n"
        elif match := _SET.fullmatch(line):
            name, value = match[1], match[2]
        elif not line or line.startswith("#"):
            continue
        else:
            sys.exit(f"{path}:{number}: not a Kconfig line: {line}")
        if name in options:
            sys.exit(f"{path}:{number}: CONFIG_{name} is already set in line {options[name][1]}")
        options[name] = value, number
    return options


def check(fragment: Path, result: Path) -> None:
    """Exit with every line of `fragment` that `result`, the complete .config, does not honour."""
    got = parse(result)
    lost = []
    for name, (wanted, number) in parse(fragment).items():
        actual, _ = got.get(name, ("n", 0))
        if actual != wanted:
            lost.append(
                f"{fragment}:{number}: CONFIG_{name}: wanted {wanted}, got "
                f"{actual if name in got else 'nothing: no such option, or a dependency is off'}"
            )
    if lost:
        sys.exit("\n".join(lost))


def merge(base: Path, fragment: Path) -> None:
    """Replace in `base`, a complete .config, every option that `fragment` names."""
    wanted = parse(fragment)
    kept = [
        line
        for line in base.read_text().splitlines()
        if not ((match := _SET.fullmatch(line) or _UNSET.fullmatch(line)) and match[1] in wanted)
    ]
    base.write_text("\n".join([*kept, fragment.read_text()]))
