"""``why``: each cause in words, from the step that was asked for down to the leaf."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest

from thaw.differences import differences
from thaw.plans import Input, Plan, Record, Run
from thaw.records import follow
from thaw.why import Known, explain

OLD, NEW = "1" * 64, "2" * 64
O, N = OLD[:12], NEW[:12]  # noqa: E741 - as they are shown


def plan(name: str, action: str, **more: Any) -> Plan:
    return Plan(name=name, action=action, generation="g", **more)


def run(action: str, outputs: Mapping[str, str], time: float, outcome: str = "built") -> Run:
    return Run(action, outputs, outcome, time=time)


def file(digest: str, path: str = "motd") -> Input:
    return Input(f"{digest}/4", {"file": path})


def made(digest: str, name: str) -> Input:
    return Input(f"{digest}/4", {"manifest": f"m/{name}.json", "output": "out"})


def chain(cache: bool = False) -> dict[str, Known]:
    """``leaf`` reads motd, ``top`` reads ``leaf``; motd was changed and both ran."""
    leafs = [plan("leaf", digest, inputs={"/src/motd": file(digest)}) for digest in (OLD, NEW)]
    tops = [plan("top", digest * 2, inputs={"/in": made(digest, "leaf")}) for digest in (OLD, NEW)]
    leaf = top = None
    for time, digest in enumerate((OLD, NEW)):
        outcome = "cached" if cache and time else "built"
        outputs = {"out": f"{digest}/4"}
        leaf = follow(leaf, leafs[time], run(leafs[time].action, outputs, time * 10, outcome))
        top = follow(top, tops[time], run(tops[time].action, outputs, time * 10 + 1, outcome))
    assert leaf
    assert top
    return {
        "leaf": Known("leaf", record=leaf, now=leaf.plan, cached=True),
        "top": Known("top", {"m/leaf.json": "leaf"}, top, top.plan, cached=True),
    }


def test_a_changed_file_is_followed_from_the_target_down() -> None:
    assert explain(chain(), ["top"]) == [
        "top: up to date; last: ran (not in the cache: never built with these inputs)",
        f"  input /in changed: {O} -> {N}, from leaf",
        "    leaf: ran (not in the cache: never built with these inputs)",
        f"      motd changed: {O} -> {N}",
    ]


def test_a_result_from_the_cache_says_so() -> None:
    first = explain(chain(cache=True), ["leaf"])[0]

    assert first == "leaf: up to date; last: taken from the cache (built before with these inputs)"


def test_the_first_time_in_a_checkout_has_no_other_cause() -> None:
    now = plan("leaf", OLD)
    record = follow(None, now, run(OLD, {}, 1.0))

    assert explain({"leaf": Known("leaf", record=record, now=now)}, ["leaf"]) == [
        "leaf: up to date; last: ran (not in the cache: never built with these inputs),"
        " the first time in this checkout"
    ]


@pytest.mark.parametrize(
    ("damaged", "text"),
    [
        (True, "its result in the cache was damaged"),
        (False, "its result was no longer in the cache"),
    ],
)
def test_a_repair_says_what_was_wrong(damaged: bool, text: str) -> None:
    now = plan("leaf", OLD)
    record = follow(None, now, run(OLD, {}, 1.0))
    record = follow(record, now, run(OLD, {}, 2.0), damaged=damaged)

    assert explain({"leaf": Known("leaf", record=record, now=now)}, ["leaf"]) == [
        f"leaf: up to date; last: ran ({text})"
    ]


def test_before_a_build_it_tells_what_will_run() -> None:
    known = chain()
    third = "3" * 64
    now = plan("leaf", third, inputs={"/src/motd": file(third)})
    known["leaf"] = replace(known["leaf"], now=now, cached=False)

    assert explain(known, ["top"]) == [
        "top: runs only if other bytes come from leaf",
        "  leaf: the next build runs it (not in the cache: never built with these inputs)",
        f"    motd changed: {N} -> {third[:12]}",
    ]


def test_before_a_build_it_tells_what_comes_from_the_cache() -> None:
    known = chain()
    back = plan("leaf", OLD, inputs={"/src/motd": file(OLD)})
    known["leaf"] = replace(known["leaf"], now=back, cached=True)

    assert explain(known, ["leaf"])[0] == (
        "leaf: the next build takes it from the cache (built before with these inputs)"
    )


def test_a_step_that_gave_the_same_bytes_stopped_the_change() -> None:
    known = chain()
    third = plan("leaf", "3" * 64, inputs={"/src/motd": file("3" * 64)})
    record = known["leaf"].record
    record = follow(record, third, run(third.action, {"out": f"{NEW}/4"}, 99.0))
    known["leaf"] = replace(known["leaf"], record=record, now=third)

    assert explain(known, ["top"]) == [
        "top: up to date; last: ran (not in the cache: never built with these inputs)",
        f"  input /in changed: {O} -> {N}, from leaf",
        "    leaf: ran (not in the cache: never built with these inputs)",
        f"      motd changed: {O} -> {N}",
        "leaf ran later, but gave the same bytes: top did not run",
        "  leaf: ran (not in the cache: never built with these inputs)",
        f"    motd changed: {N} -> {'3' * 12}",
    ]


def test_runs_in_between_are_all_told_newest_first() -> None:
    known = chain()
    third, fourth = "3" * 64, "4" * 64
    leaf, top = known["leaf"].record, known["top"].record
    for time, digest in ((20.0, third), (30.0, fourth)):
        now = plan("leaf", digest, inputs={"/src/motd": file(digest)})
        leaf = follow(leaf, now, run(digest, {"out": f"{digest}/4"}, time))
    now = plan("top", "t", inputs={"/in": made(fourth, "leaf")})
    top = follow(top, now, run("t", {}, 31.0))
    assert leaf
    known["leaf"] = replace(known["leaf"], record=leaf, now=leaf.plan)
    known["top"] = replace(known["top"], record=top, now=now)

    lines = explain(known, ["top"])

    assert [line.strip() for line in lines if "motd" in line] == [
        f"motd changed: {third[:12]} -> {fourth[:12]}",
        f"motd changed: {N} -> {third[:12]}",
    ]


def test_a_new_toolchain_is_told_by_package() -> None:
    def toolchain(*packages: tuple[str, str, str]) -> Plan:
        inputs = {name: Input(digest, {"package": v}) for name, v, digest in packages}
        return plan("toolchain native", repr(packages), inputs=inputs)

    old = toolchain(("gcc", "14.2", OLD), ("bc", "1.07", OLD), ("sed", "4", OLD))
    new = toolchain(("gcc", "14.3", NEW), ("awk", "1", NEW), ("sed", "4", NEW))
    tools: Record | None = None
    step: Record | None = None
    for time, (now, digest) in enumerate([(old, OLD), (new, NEW)]):
        tools = follow(tools, now, run(now.action, {"root": digest}, time * 10))
        using = plan("step", digest, toolchain="m/t.json", root=digest)
        step = follow(step, using, run(digest, {}, time * 10 + 1))
    known = {
        "toolchain native": Known("toolchain native", record=tools, now=new),
        "step": Known("step", {"m/t.json": "toolchain native"}, step, using),
    }

    assert explain(known, ["step"]) == [
        "step: up to date; last: ran (not in the cache: never built with these inputs)",
        f"  new toolchain: {OLD} -> {NEW}, from toolchain native",
        "    toolchain native: ran (not in the cache: never built with these inputs)",
        "      package awk 1 added",
        "      package bc 1.07 removed",
        "      package gcc 14.2 -> 14.3",
        f"      package sed 4 changed: {OLD} -> {NEW}",
    ]


def test_what_is_not_remembered_is_said_to_be_so() -> None:
    unknown = "leaf: how it was made is not known: its record is missing or damaged"
    known = chain()
    known["leaf"] = replace(known["leaf"], record=None)

    assert explain(known, ["leaf"]) == [unknown]
    assert explain(known, ["top"])[2:] == [f"    {unknown}"]


def test_runs_that_have_left_the_history_are_said_to_be_forgotten() -> None:
    known = chain()
    assert known["leaf"].record
    late = replace(known["leaf"].record.run, time=100.0)
    known["leaf"] = replace(known["leaf"], record=replace(known["leaf"].record, runs=(late,)))

    assert "    leaf: that run is not remembered any more" in explain(known, ["top"])


def test_a_step_never_built_here_has_no_more_to_say() -> None:
    known = {"leaf": Known("leaf", removed=True)}

    assert explain(known, ["leaf"]) == ["leaf: not built yet in this checkout"]


def test_another_cache_is_a_reason_of_its_own() -> None:
    known = chain()
    assert known["leaf"].now
    moved = replace(known["leaf"].now, generation="other")
    known["leaf"] = replace(known["leaf"], now=moved, cached=False)

    assert explain(known, ["leaf"])[0] == (
        "leaf: the cache is another one than the time before;"
        " the next build runs it (not in the cache: never built with these inputs)"
    )


def test_a_result_that_was_edited_is_told() -> None:
    known = chain()
    known["leaf"] = replace(known["leaf"], touched=("out/x",))

    assert explain(known, ["leaf"])[1] == (
        "  out/x is not as it was laid out: the next build copies it from the cache"
    )


def test_many_changes_are_counted() -> None:
    files = [{f"f{n:03}": f"{digest}/1" for n in range(100)} for digest in (OLD, NEW)]
    old, new = (
        plan("leaf", str(n), inputs={"/src": Input(str(n), {"dir": "top"}, f)})
        for n, f in enumerate(files)
    )
    record = follow(follow(None, old, run("0", {}, 0.0)), new, run("1", {}, 1.0))
    lines = explain({"leaf": Known("leaf", record=record, now=new)}, ["leaf"])

    assert len(lines) == 22
    assert lines[-1] == "  and 80 more"


@pytest.mark.parametrize(
    ("old", "new", "text"),
    [
        ({"argv": ("a", "b")}, {"argv": ("a", "c")}, "command line changed: 'b' -> 'c'"),
        ({"argv": ("a",)}, {"argv": ("a", "-O2")}, "command line changed: +'-O2'"),
        ({"environment": {}}, {"environment": {"CC": "gcc"}}, "environment: CC=gcc added"),
        ({"environment": {"CC": "gcc"}}, {"environment": {}}, "environment: CC=gcc removed"),
        (
            {"environment": {"CC": "gcc"}},
            {"environment": {"CC": "cc"}},
            "environment: CC changed: gcc -> cc",
        ),
        ({"platform": {"ISA": "a"}}, {"platform": {"ISA": "b"}}, "platform: ISA changed: a -> b"),
        ({"asked": ("x",)}, {"asked": ("x", "y")}, "output y added"),
        ({"asked": ("x", "y")}, {"asked": ("x",)}, "output y removed"),
        ({"inputs": {}}, {"inputs": {"/src/f": file(NEW)}}, "input /src/f added: motd"),
        ({"inputs": {"/src/f": file(OLD)}}, {"inputs": {}}, "input /src/f removed: motd"),
        (
            {"inputs": {"/x": Input(f"{OLD}/1", {"file": "x"})}},
            {"inputs": {"/x": Input(f"{OLD}/1 executable", {"file": "x"})}},
            "x changed: now executable",
        ),
        (
            {"inputs": {"/l": Input(f"{OLD}/1", {"source": "linux-6.1.tar"})}},
            {"inputs": {"/l": Input(f"{NEW}/1", {"source": "linux-6.2.tar"})}},
            f"linux-6.2.tar changed (was linux-6.1.tar): {O} -> {N}",
        ),
        (
            {"inputs": {"/c": Input("1", {"json": {"a": {"b": 1}, "c": 2}})}},
            {"inputs": {"/c": Input("2", {"json": {"a": {"b": 3}, "c": 2}})}},
            "/c: a.b changed: '1' -> '3'",
        ),
        (
            {"inputs": {"/d": Input("1", {"dir": "top"}, {"l": "-> a"})}},
            {"inputs": {"/d": Input("2", {"dir": "top"}, {"l": "-> b"})}},
            "top/l changed: -> a -> -> b",
        ),
        (
            {"inputs": {"yaml: links": Input(f"{OLD}/1", {"part": "links"})}},
            {"inputs": {"yaml: links": Input(f"{NEW}/1", {"part": "links"})}},
            f"the toolchain's links changed: {O} -> {N}",
        ),
        ({}, {}, "the key is made otherwise: another version of Thaw, or of the lock"),
    ],
)
def test_each_difference_in_words(old: Any, new: Any, text: str) -> None:
    changes = differences(plan("step", "1", **old), plan("step", "2", **new))

    assert [change.text for change in changes] == [text]


def test_the_same_action_has_no_differences() -> None:
    assert differences(plan("step", "1"), plan("another", "1")) == []
