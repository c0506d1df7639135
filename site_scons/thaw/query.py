"""``aquery``: a step's action as JSON."""

from datetime import UTC, datetime
from typing import Any

from thaw.plans import Input, Plan, Run
from thaw.step import Step
from thaw.survey import Target
from thaw.why import Known


def describe(target: Target, known: Known) -> dict[str, Any]:
    """The action that the next build would ask for, and how it last went.

    Where that can't be told yet, because something it reads was never built here, the step as it
    is declared, without digests.
    """
    record = known.record
    last = record.run if record else None
    step = target.made_by if isinstance(target.made_by, Step) else None
    value: dict[str, Any] = {"step": known.name, "manifest": str(target.manifest)}
    if known.now:
        value |= _action(known.now, last)
        value["in_cache"] = known.cached
    elif step:
        value |= {
            "action": None,
            "argv": list(step.argv),
            "environment": dict(step.environment),
            "platform": dict(step.platform),
            "toolchain": {"manifest": step.toolchain, "root": None},
            "inputs": {p: {"digest": None, "origin": dict(o)} for p, o in step.inputs.items()},
            "outputs": dict.fromkeys(step.outputs),
        }
    if step:
        value |= {"timeout": step.timeout, "use_ccache": step.use_ccache}
    else:
        value["description"] = str(target.made_by)
    value["problem"] = known.problem or None
    value["last_run"] = last and {
        "action": last.action,
        "outcome": last.outcome,
        "seconds": round(last.seconds, 3),
        "time": datetime.fromtimestamp(last.time, UTC).isoformat(timespec="seconds"),
        "outputs": dict(last.outputs),
    }
    return value


def _action(now: Plan, last: Run | None) -> dict[str, Any]:
    made = last.outputs if last and last.action == now.action else {}
    names = now.asked or tuple(made)
    return {
        "action": now.action,
        "argv": list(now.argv),
        "environment": dict(now.environment),
        "platform": dict(now.platform),
        "toolchain": {"manifest": now.toolchain, "root": now.root} if now.toolchain else None,
        "inputs": {path: _input(entry) for path, entry in now.inputs.items()},
        "outputs": {name: made.get(name) for name in names},
    }


def _input(entry: Input) -> dict[str, Any]:
    value: dict[str, Any] = {"digest": entry.digest, "origin": dict(entry.origin)}
    return value | {"files": dict(entry.files)} if entry.files else value
