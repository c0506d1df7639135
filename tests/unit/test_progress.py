"""What a person reads: numbers with their units, lines where there is no terminal, a summary."""

import sys

import pytest

from thaw import progress, summary
from thaw.progress import Counter, Done, Ticker


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0.0 s"),
        (0.44, "0.4 s"),
        (9.94, "9.9 s"),
        (9.96, "10 s"),
        (59.4, "59 s"),
        (59.9, "1 min 00 s"),
        (187.2, "3 min 07 s"),
        (3725, "62 min 05 s"),
    ],
)
def test_durations(seconds: float, text: str) -> None:
    assert progress.duration(seconds) == text


@pytest.mark.parametrize(
    ("count", "text"),
    [
        (0, "0 B"),
        (812, "812 B"),
        (1000, "1.0 kB"),
        (999_999, "1.0 MB"),
        (4_240_000, "4.2 MB"),
        (999_999_999, "1.00 GB"),
        (9_000_000_000, "9.00 GB"),
    ],
)
def test_sizes(count: int, text: str) -> None:
    assert progress.size(count) == text


@pytest.fixture
def no_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys.stderr, "isatty", lambda: False, raising=False)


@pytest.mark.usefixtures("no_terminal")
def test_without_a_terminal_progress_is_lines_now_and_then(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    with progress.counter("fetch x", 200) as counter:
        counter.add(50)
        assert capsys.readouterr() == ("", "")
        monkeypatch.setattr(progress, "PLAIN_INTERVAL", -1)
        counter.add(50)
    assert capsys.readouterr() == ("fetch x: 50 %\n", "")


@pytest.mark.usefixtures("no_terminal")
def test_a_running_action_shows_its_last_line(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(progress, "PLAIN_INTERVAL", -1)
    ticker = Ticker("kernel")
    ticker.tick("CC init/main.o")
    ticker.close()
    assert capsys.readouterr().out == "kernel  0.0 s  CC init/main.o\n"


@pytest.mark.usefixtures("no_terminal")
def test_work_of_unknown_size_can_be_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(progress, "PLAIN_INTERVAL", -1)
    counter = Counter("fetch x", 0, "B")
    counter.add(50)
    counter.close()


def test_each_finished_action_is_a_line(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(progress, "finished", [])
    progress.record(Done("kernel", "built", 187))
    progress.record(Done("rootfs", "cached", 0.1))
    assert capsys.readouterr().out == "[built]  kernel  3 min 07 s\n[cached] rootfs\n"
    assert [done.name for done in progress.finished] == ["kernel", "rootfs"]


def test_nothing_to_do_needs_no_summary() -> None:
    assert summary.text([], {}, [], failed=False) == ""


def test_the_summary_counts_and_names_the_longest(monkeypatch: pytest.MonkeyPatch) -> None:
    finished = [Done(f"step{n}", "built", n) for n in range(1, 8)]
    finished += [Done("old", "cached", 99), Done("older", "cached", 99)]
    first, *rest = summary.text(finished, {}, [], failed=False).splitlines()
    assert first.startswith("thaw: 7 built, 2 from the cache, ")
    assert [line.split()[-1] for line in rest] == ["step7", "step6", "step5", "step4", "step3"]


def test_the_summary_of_a_failure_says_that_work_is_not_lost() -> None:
    text = summary.text([Done("kernel", "built", 1)], {}, [], failed=True)
    assert text.splitlines()[-1].startswith("thaw: failed; what was built is in the cache")


def test_the_summary_says_where_the_results_are() -> None:
    results = {"out/x86_64/bundle": "show it: ./sconsw serve", "out/x86_64/pack": ""}
    text = summary.text([Done("bundle", "cached", 1)], results, [], failed=False)
    assert "  out/x86_64/bundle: show it: ./sconsw serve\n  out/x86_64/pack" in text
