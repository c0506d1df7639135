"""Times commands and functions in turn, several times over, and prints what came out as a table.

What is compared is measured in the same run, one after the other, round after round: the speed of
a machine that others use drifts, the ratios of a round do less so. The minimum is the figure that
others disturbed least; the median says how much that was. Processor time is that of the command and
all it started and waited for, not of a server that was there before; others disturb it less.
"""

import gc
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path


class Failed(Exception):
    """A command ended with an error, or cannot be run on this machine."""


def run(command: Sequence[str], cwd: Path, environment: Mapping[str, str] | None = None) -> str:
    """What a command printed. Raises Failed with the last lines of it."""
    done = subprocess.run(
        command,
        cwd=cwd,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
    )
    if done.returncode:
        last = " / ".join(line.strip() for line in done.stdout.splitlines()[-4:])
        raise Failed(f"{command[0]}: exit code {done.returncode}: {last}")
    return done.stdout


@dataclass
class Case:
    """One row: what is timed, and what is done before each time without being timed.

    actions: how many actions it runs, for the time of one
    """

    name: str
    work: Callable[[], object]
    prepare: Callable[[], object] = lambda: None
    actions: int = 0
    seconds: list[float] = field(default_factory=list)
    cpu_seconds: list[float] = field(default_factory=list)
    problem: str = ""

    @property
    def least(self) -> float:
        """Seconds of the quickest run."""
        return min(self.seconds)

    def time_once(self) -> None:
        """Measure one more time; after a failure, never again."""
        if self.problem:
            return
        try:
            self.prepare()
            gc.collect()
            began, cpu = time.perf_counter(), _cpu()
            self.work()
            self.seconds.append(time.perf_counter() - began)
            self.cpu_seconds.append(_cpu() - cpu)
        except (Failed, OSError) as error:
            self.problem = str(error)


def _cpu() -> float:
    """Seconds of processor time of this process and of those it waited for."""
    used = map(resource.getrusage, (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return sum(each.ru_utime + each.ru_stime for each in used)


def measure(title: str, cases: Sequence[Case], rounds: int, reference: str = "") -> list[Case]:
    """Time the cases in turn and print them, each against the one named ``reference``."""
    for number in range(rounds):
        for case in cases:
            print(f"  {title}: {case.name} ({number + 1}/{rounds}) ...", file=sys.stderr)
            case.time_once()
    print_table(title, cases, reference)
    return list(cases)


def print_table(title: str, cases: Sequence[Case], reference: str = "") -> None:
    """A Markdown table of cases that were measured."""
    base = next((case for case in cases if case.name == reference and case.seconds), None)
    per_action = any(case.actions for case in cases)
    heads = ["", "min", "median", "processor", *(["per action"] if per_action else [])]
    heads += [f"times {reference}"] if base else []
    print(f"\n**{title}**\n")
    print(f"| {' | '.join(heads)} |")
    print(f"|{'---|' * len(heads)}")
    for case in cases:
        if not case.seconds:
            print(f"| {case.name} | {case.problem or 'not measured'} |{' |' * (len(heads) - 2)}")
            continue
        cells = [case.name, seconds(case.least), seconds(statistics.median(case.seconds))]
        cells.append(seconds(min(case.cpu_seconds)))
        if per_action:
            cells.append(f"{case.least / case.actions * 1000:.1f} ms" if case.actions else "")
        if base:
            cells.append(f"{case.least / base.least:.2f}")
        print(f"| {' | '.join(cells)} |")
    sys.stdout.flush()


def seconds(value: float) -> str:
    """For a table: ``0.123 s``, ``12.3 s``."""
    return f"{value:.3f} s" if value < 9.95 else f"{value:.1f} s"
