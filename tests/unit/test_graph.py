"""The graph as DOT text."""

from thaw.graph import Box, dot

BOXES = [
    Box("toolchain native", [], "cached", 3.0, 1_500_000),
    Box("kernel", ["toolchain native"], "built", 187.2, 4_200_000),
    Box('odd "name"', ["kernel", "toolchain native"]),
]


def test_a_box_tells_outcome_duration_and_size() -> None:
    text = dot(BOXES)

    assert r'"kernel" [label="kernel\nbuilt, 3 min 07 s, 4.2 MB", fillcolor="#f6c177"]' in text
    assert r'[label="toolchain native\nfrom the cache, 3.0 s, 1.5 MB"' in text


def test_what_was_never_made_says_so() -> None:
    assert r'"odd \"name\"" [label="odd \"name\"\nnot made yet", fillcolor="#ffffff"]' in dot(BOXES)


def test_edges_go_from_what_is_read_and_a_toolchains_are_lighter() -> None:
    text = dot(BOXES)

    assert r'"kernel" -> "odd \"name\""' + "\n" in text
    assert '"toolchain native" -> "kernel" [color="#cccccc", style=dashed]' in text


def test_the_order_of_steps_does_not_matter() -> None:
    assert dot(BOXES) == dot(BOXES[::-1])


def test_another_outcome_has_another_color() -> None:
    outcomes = ("built", "remote-built", "cached", "remote-cached", "")
    colors = {
        dot([Box("a", [], outcome)]).rpartition("fillcolor=")[2].split("]")[0]
        for outcome in outcomes
    }

    assert len(colors) == len(outcomes)
