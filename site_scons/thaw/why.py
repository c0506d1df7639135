"""Why a step ran, or is about to: from records and what the checkout holds now, in plain lines.

Pure: no file is read here. Causes are followed from the step that was asked for down to the file,
package or setting that changed.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from thaw.differences import differences
from thaw.plans import BUILT, Change, Plan, Record, Run

SHOWN = 20  # changes of one run; the rest is counted

HOW = {
    "built": "ran",
    "remote-built": "ran remotely",
    "cached": "taken from the cache",
    "remote-cached": "taken from the remote cache",
}
REASONS = {
    "damaged": "its result in the cache was damaged",
    "lost": "its result was no longer in the cache",
    "other cache": "the cache is another one than the time before",
}
NEVER = "not in the cache: never built with these inputs"
BEFORE = "built before with these inputs"
FORGOTTEN = "that run is not remembered any more"
UNKNOWN = "how it was made is not known: its record is missing or damaged"
NEXT_CACHED = f"the next build takes it from the cache ({BEFORE})"
NEXT_RUN = f"the next build runs it ({NEVER})"


@dataclass(frozen=True)
class Known:
    """A step of the graph as it is known now.

    needs: path of a manifest that it reads -> name of the step that makes it
    now: the action that the next build would ask for, as far as its inputs are there
    problem: why ``now`` is not known
    cached: whether ``now`` has a result in this machine's cache
    removed: its manifest is gone
    touched: its files in out/ that are not as they were laid out
    """

    name: str
    needs: Mapping[str, str] = field(default_factory=dict)
    record: Record | None = None
    now: Plan | None = None
    problem: str = ""
    cached: bool = False
    removed: bool = False
    touched: tuple[str, ...] = ()


Tree = list[tuple[int, str]]  # depth, line


def explain(known: Mapping[str, Known], targets: Sequence[str]) -> list[str]:
    """The answer for each target, a line each, indented by two blanks a level."""
    explainer = _Explainer(known)
    return ["  " * depth + line for target in targets for depth, line in explainer.target(target)]


class _Explainer:
    """One answer: nothing is told twice in it."""

    def __init__(self, known: Mapping[str, Known]) -> None:
        self._known = known
        self._told: set[tuple[str, float]] = set()
        self._outdated: dict[str, bool] = {}

    def target(self, name: str) -> Tree:
        step = self._known[name]
        if self.outdated(name):
            return self._next(name, 0)
        if step.record is None:
            return [(0, f"{name}: {UNKNOWN}")]
        lines = self._run(name, step.record.run, 0)
        lines[0] = (0, lines[0][1].replace(f"{name}: ", f"{name}: up to date; last: ", 1))
        again = "is not as it was laid out: the next build copies it from the cache"
        lines[1:1] = [(1, f"{path} {again}") for path in step.touched]
        return lines + self._cut_off(name)

    def outdated(self, name: str) -> bool:
        """Whether the next build looks at the step again, or at one that it is made from."""
        if name not in self._outdated:
            self._outdated[name] = False  # there are no cycles
            own = _is_outdated(self._known[name])
            self._outdated[name] = own or any(map(self.outdated, self._needs(name)))
        return self._outdated[name]

    def _needs(self, name: str) -> list[str]:
        return sorted({need for need in self._known[name].needs.values() if need in self._known})

    # The next build

    def _next(self, name: str, depth: int) -> Tree:
        step = self._known[name]
        if not self._first_time(name, 0.0):
            return []
        waiting = [need for need in self._needs(name) if self.outdated(need)]
        tree = [(depth, f"{name}: {_plan(step, waiting)}")]
        if step.record and step.now:
            changes = differences(step.record.plan, step.now)
            own = [change for change in changes if step.needs.get(change.manifest) not in waiting]
            tree += self._changes(step, own, float("inf"), depth + 1)
        for need in waiting:
            tree += self._next(need, depth + 1)
        return tree

    # The last one

    def _run(self, name: str, run: Run, depth: int) -> Tree:
        if not self._first_time(name, run.time):
            return [(depth, f"{name}: see above")]
        tree = [(depth, f"{name}: {_outcome(run)}")]
        return tree + self._changes(self._known[name], run.changes, run.time, depth + 1)

    def _first_time(self, name: str, time: float) -> bool:
        fresh = (name, time) not in self._told
        self._told.add((name, time))
        return fresh

    def _changes(self, step: Known, changes: Sequence[Change], until: float, depth: int) -> Tree:
        """Changes, each followed to the runs that made it, which were done before ``until``."""
        tree: Tree = []
        for change in changes[:SHOWN]:
            need = step.needs.get(change.manifest, "")
            tree.append((depth, f"{change.text}, from {need}" if need else change.text))
            if need in self._known:
                record = self._known[need].record
                runs = _runs_between(record, change, until) if record else []
                for run in runs:
                    tree += self._run(need, run, depth + 1)
                if not runs:
                    tree.append((depth + 1, f"{need}: {FORGOTTEN if record else UNKNOWN}"))
        if len(changes) > SHOWN:
            tree.append((depth, f"and {len(changes) - SHOWN} more"))
        return tree

    def _cut_off(self, target: str) -> Tree:
        """Steps that ran later than those that read them: equal bytes stopped the change."""
        tree: Tree = []
        for name in self._closure(target):
            record = self._known[name].record
            for need in self._needs(name) if record else []:
                other = self._known[need].record
                if record and other and other.run.time > record.run.time:
                    did = "ran" if other.run.outcome in BUILT else "was looked up"
                    line = f"{need} {did} later, but gave the same bytes: {name} did not run"
                    tree.append((0, line))
                    tree += self._run(need, other.run, 1)
        return tree

    def _closure(self, target: str) -> Iterator[str]:
        seen = {target}
        pending = [target]
        while pending:
            name = pending.pop()
            yield name
            fresh = [need for need in self._needs(name) if need not in seen]
            seen.update(fresh)
            pending += fresh


def _runs_between(record: Record, change: Change, until: float) -> list[Run]:
    """The runs that took an output from ``change.old`` to ``change.new``, newest first."""
    runs = [run for run in record.runs if run.time <= until]
    while runs and runs[-1].outputs.get(change.output) != change.new:
        runs.pop()
    while len(runs) > 1 and runs[-2].outputs.get(change.output) == change.new:
        runs.pop()  # ran again, and gave the same bytes
    found = runs[-1:]
    for run in reversed(runs[:-1]):
        if run.outputs.get(change.output) == change.old:
            return found
        found.append(run)
    return found[:1]  # what was before is forgotten


def _is_outdated(step: Known) -> bool:
    if step.record is None:
        return step.removed  # else it may be up to date as well
    if step.now is None:
        return True
    known = step.record.plan
    moved = step.now.generation != known.generation
    return step.now.action != known.action or moved or step.removed


def _plan(step: Known, waiting: Sequence[str]) -> str:
    """What the next build does, in half a sentence."""
    if step.now is None:
        return f"not known: {step.problem}" if step.problem else "not built yet in this checkout"
    plan = NEXT_CACHED if step.cached else NEXT_RUN
    if waiting:
        plan = f"the next build first makes {', '.join(waiting)}"
    if step.record is None:
        return f"{plan}, the first time in this checkout"
    if step.now.action != step.record.plan.action:
        return plan
    if step.now.generation != step.record.plan.generation:
        return f"{REASONS['other cache']}; {plan}"
    if step.removed:
        return f"its manifest was removed; {plan}"
    return f"runs only if other bytes come from {', '.join(waiting)}"


def _outcome(run: Run) -> str:
    how = HOW.get(run.outcome, run.outcome)
    cache = NEVER if run.outcome in BUILT else BEFORE
    if run.reason == "first":
        return f"{how} ({cache}), the first time in this checkout"
    return f"{how} ({REASONS.get(run.reason, cache)})"
