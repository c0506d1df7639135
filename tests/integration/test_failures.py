"""A step that fails: one clear error, its sandbox kept, and nothing of it ever used."""

import re
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from thaw.executor import Result
from thaw.local import LOG_LINES, ActionFailed
from thaw.step import Engine

Run = Callable[..., Result]


def no_result(engine: Engine) -> bool:
    """No action has a result, and no work directory is left."""
    results = [path for path in (engine.store.top / "ac").rglob("*") if path.is_file()]
    return not results and not list((engine.store.top / "tmp").iterdir())


def test_the_last_lines_of_the_log_are_shown(run: Run, engine: Engine, tmp_path: Path) -> None:
    with pytest.raises(ActionFailed) as raised:
        run("for i in {1..99}; do echo line $i; done; echo made > /out/x; exit 3", name="hello")
    first, *lines = str(raised.value).splitlines()
    assert first == "hello: failed: exit code 3"
    shown = [line for line in lines if line.startswith("  | ")]
    assert shown == [f"  | line {n}" for n in range(100 - LOG_LINES, 100)]
    assert no_result(engine)
    assert not (tmp_path / "hello.json").exists()


def test_its_directories_are_kept(run: Run) -> None:
    with pytest.raises(ActionFailed) as raised:
        run("echo left > /build/left; echo said; exit 1", name="a/name with spaces")
    found = re.search(r"whole log: (.+)\n", str(raised.value))
    assert found is not None
    log = Path(found[1])
    assert log.read_text() == "said\n"
    assert (log.parent / "build/left").read_text() == "left\n"


def test_the_kept_sandbox_can_be_entered(run: Run, tmp_path: Path) -> None:
    """The script opens a shell that sees what the step saw, where it stood."""
    (tmp_path / "file").write_text("input\n")
    inputs = {"/src/file": {"file": str(tmp_path / "file")}}
    with pytest.raises(ActionFailed) as raised:
        run("echo left > left; exit 1", inputs, environment={"CC": "gcc"})
    enter = str(raised.value).rpartition("look inside its sandbox: ")[2]
    commands = "cat left /src/file; echo $CC; id -u; echo more > /build/more\n"
    done = subprocess.run([enter], input=commands, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    hint, *said = done.stdout.splitlines()
    assert hint.startswith("The command was: env -C /build bash -euc 'echo left > left; exit 1'")
    assert said == ["left", "input", "gcc", "1000"]
    assert (Path(enter).parent / "build/more").read_text() == "more\n"


def test_the_next_failure_takes_the_place_of_the_last(run: Run, engine: Engine) -> None:
    for number in (1, 2):
        with pytest.raises(ActionFailed):
            run(f"mkdir -m 0 /build/locked; echo {number}; exit 1")
    (kept,) = (engine.store.top / "failed").iterdir()
    assert (kept / "log").read_text() == "2\n"


def test_a_missing_output_is_named(run: Run, engine: Engine) -> None:
    with pytest.raises(ActionFailed, match=r"^step: failed: it did not make b, c\n"):
        run("echo 1 > /out/a", outputs=("a", "b", "c"))
    assert no_result(engine)


@pytest.mark.parametrize(
    ("script", "cause"),
    [
        ("mkfifo /out/x", r"out/x: not a file or directory"),
        ("ln -s /etc/passwd /out/x", r"out/x: not a file or directory"),
        ("ln -s nowhere /out/x", r"out/x: not a file or directory"),
        ("mkdir /out/x; mkfifo /out/x/pipe", r"out/x/pipe: not a file, directory or symb"),
        ("mkdir /out/x; echo > /out/x/$'caf\\xe9'", r"name or link that is not UTF-8: 'caf"),
    ],
)
def test_an_output_that_is_no_artifact_is_refused(
    run: Run, engine: Engine, script: str, cause: str
) -> None:
    with pytest.raises(ActionFailed, match=rf"^step: failed: .*{cause}"):
        run(script)
    assert no_result(engine)
    assert (engine.store.top / "failed/step/enter").exists()


def test_a_command_that_is_not_there_is_named(run: Run) -> None:
    with pytest.raises(ActionFailed, match=r"exit code 127\n.*nonesuch"):
        run("", argv=("nonesuch",))


def test_a_step_that_takes_too_long_is_stopped(run: Run, engine: Engine) -> None:
    script = "trap '' TERM; echo waiting for a prompt; sleep 1000 & sleep 1000"
    with pytest.raises(ActionFailed) as raised:
        run(script, timeout=1)
    assert "step: failed: not finished after 1 s: stopped\n  | waiting for a prompt\n" in str(
        raised.value
    )
    assert no_result(engine)


def test_a_step_that_was_killed_says_so(run: Run) -> None:
    with pytest.raises(ActionFailed, match=r"exit code 137 \(killed: is there enough memory\?\)"):
        run("kill -9 $$")


def test_a_failure_is_not_remembered(run: Run, engine: Engine) -> None:
    script = "test -e /ccache/fixed && echo > /out/x"
    with pytest.raises(ActionFailed):
        run(script, use_ccache=True)
    (ccache,) = (engine.store.top / "ccache").iterdir()
    (ccache / "fixed").touch()
    assert not run(script, use_ccache=True).cached


def test_a_failure_leaves_the_manifest_of_the_last_success(run: Run, tmp_path: Path) -> None:
    run("echo good > /out/x")
    before = (tmp_path / "step.json").read_bytes()
    with pytest.raises(ActionFailed):
        run("echo bad > /out/x; exit 1")
    assert (tmp_path / "step.json").read_bytes() == before


def test_a_damaged_output_is_noticed_and_made_again(
    run: Run, engine: Engine, tmp_path: Path
) -> None:
    """A bit flips in the cache: the artifact is not handed out, but made again."""
    script, target = "echo hello > /out/x", tmp_path / "out/result"
    run(script)
    blob = engine.store.path(run(script).outputs["x"].digest)  # type: ignore[union-attr]
    blob.chmod(0o644)
    blob.write_text("HELLO\n")
    engine.lay_out("step", tmp_path / "step.json", {"x": target})
    assert target.read_text() == "hello\n"
