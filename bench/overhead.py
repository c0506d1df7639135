"""What Thaw costs beside the commands it runs, measured against other tools on this machine.

    .venv/bin/python bench/overhead.py [nothing] [restore] [staging] [actions]

Prints Markdown tables; bench/README.md says what each row means. ``nothing`` and ``restore`` read
this checkout's results and the usual cache, which must be warm (./sconsw wasm-bundle). The others
have a cache of their own. All that is written is below a temporary directory.
"""

import argparse
import os
import platform
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

TOP = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(TOP / "site_scons"), str(TOP / "tests/support")]

import actions  # noqa: E402
import peers  # noqa: E402
import real  # noqa: E402
import staging  # noqa: E402
from measure import Failed  # noqa: E402

SECTIONS: dict[str, Callable[[argparse.Namespace, Path], None]] = {
    "nothing": real.nothing_to_do,
    "restore": real.restore,
    "staging": staging.compare,
    "actions": actions.compare,
}


def main() -> int:
    summary, _, rest = (__doc__ or "").partition("\n\n")
    parser = argparse.ArgumentParser(
        description=summary, epilog=rest, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "sections", nargs="*", metavar="SECTION", help=f"{', '.join(SECTIONS)} (default: all)"
    )
    parser.add_argument("--rounds", type=int, default=2, help="times each is run (default: 2)")
    parser.add_argument(
        "--sizes",
        type=lambda text: [int(word) for word in text.split(",")],
        default=[125, 250, 500, 1000],
        metavar="N,N,...",
        help="numbers of small actions (default: 125,250,500,1000)",
    )
    parser.add_argument("--jobs", type=int, default=1, help="actions at a time (default: 1)")
    parser.add_argument("--files", type=int, default=60000, help="files to stage (default: 60000)")
    parser.add_argument(
        "--peer-limit",
        type=int,
        default=125,
        metavar="N",
        help="no more small actions than this for BuildStream, which is slow (default: 125)",
    )
    parser.add_argument("--bst", default="", metavar="PATH", help="BuildStream's program")
    parser.add_argument("--bazel", default="", metavar="PATH", help="Bazel's program")
    parser.add_argument("--tmp", default="", metavar="DIR", help="where to write (default: TMPDIR)")
    options = parser.parse_args()
    unknown = set(options.sections) - SECTIONS.keys()
    if unknown:
        parser.error(f"no such section: {', '.join(sorted(unknown))}")
    if min(options.sizes) < 2 or options.rounds < 1 or options.jobs < 1 or options.files < 1:
        parser.error("sizes must be 2 or more, the other numbers 1 or more")
    print(f"{platform.processor() or platform.machine()}, {os.cpu_count()} cores,", end=" ")
    print(f"Python {platform.python_version()}, Linux {platform.release()},", end=" ")
    print(f"minimum and median of {options.rounds} rounds, {options.jobs} action(s) at a time")
    with tempfile.TemporaryDirectory(prefix="thaw-bench-", dir=options.tmp or None) as top:
        try:
            peers.say_what_is_missing(options)
            for name, section in SECTIONS.items():
                if not options.sections or name in options.sections:
                    (Path(top) / name).mkdir()
                    section(options, Path(top) / name)
        except Failed as error:
            print(f"overhead: {error}", file=sys.stderr)
            return 1
        finally:
            peers.stop()
    return 0


if __name__ == "__main__":
    sys.exit(main())
