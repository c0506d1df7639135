"""Processes on one cache: who runs, who waits for whom, and what the killed ones left."""

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from thaw import interrupt, locks
from thaw.store import Store


def test_a_lock_is_held_by_one_at_a_time(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(locks, "POLL", 0.001)
    other, order = Store(tmp_path / "cache"), []
    waiting = threading.Event()

    def second() -> None:
        with other.lock("name", waiting.set):
            order.append("second")

    thread = threading.Thread(target=second)
    with store.lock("name"):
        thread.start()
        assert waiting.wait(10)
        order.append("first")
    thread.join()
    assert order == ["first", "second"]


def test_a_lock_excludes_though_its_file_comes_and_goes(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each holder removes it: nobody may hold one that was removed."""
    monkeypatch.setattr(locks, "POLL", 0.0001)
    inside, most = [], []

    def work() -> None:
        for _ in range(200):
            with store.lock("name"):
                inside.append(1)
                most.append(len(inside))
                inside.pop()

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert max(most) == 1
    assert len(most) == 800
    assert "name" not in os.listdir(store.top / "locks")


def test_ctrl_c_ends_the_wait_for_a_lock(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(interrupt, "pending", lambda: True)
    with store.lock("name"), pytest.raises(interrupt.Interrupted), store.lock("name"):
        pass


def test_using_is_shared_and_shuts_out_who_wants_to_be_alone(store: Store, tmp_path: Path) -> None:
    other, order = Store(tmp_path / "cache"), []

    def alone() -> None:
        with other.alone():
            order.append("alone")

    thread = threading.Thread(target=alone)
    with store.using(), other.using(), store.using():
        thread.start()
        thread.join(0.1)
        order.append("used")
    thread.join()
    assert order == ["used", "alone"]


HOLDER = """
import sys
from pathlib import Path
from thaw.store import Store
store = Store(Path(sys.argv[1]))
with store.lock("name"), store.temporary_directory() as work, store.using():
    (work / "file").write_text("half done")
    print("ready", flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def start(tmp_path: Path) -> Callable[[], subprocess.Popen[str]]:
    """Starts a process that holds a lock, is using the store, and has something in ``tmp/``."""

    def run() -> subprocess.Popen[str]:
        process = subprocess.Popen(
            [sys.executable, "-c", HOLDER, str(tmp_path / "cache")],
            env={**os.environ, "PYTHONPATH": str(Path(locks.__file__).parents[1])},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        return process

    return run


def test_processes_that_open_an_empty_cache_at_once_agree_on_its_name(tmp_path: Path) -> None:
    """As two clones do that are built for the first time."""
    script = "import sys; from pathlib import Path; from thaw.store import Store;"
    script += "print(Store(Path(sys.argv[1])).generation)"
    line = [sys.executable, "-c", script, str(tmp_path / "new")]
    environment = {**os.environ, "PYTHONPATH": str(Path(locks.__file__).parents[1])}
    started = [
        subprocess.Popen(line, env=environment, stdout=subprocess.PIPE, text=True) for _ in range(6)
    ]
    said = {process.communicate()[0] for process in started}
    assert [process.returncode for process in started] == [0] * 6
    assert len(said) == 1


def work_in(store: Store) -> list[Path]:
    return list((store.top / "tmp").iterdir())


def test_what_killed_processes_left_is_removed_though_others_run(
    start: Callable[[], subprocess.Popen[str]], tmp_path: Path
) -> None:
    killed = start()
    store = Store(tmp_path / "cache")
    assert len(work_in(store)) == 1
    assert len(store.running()) == 2
    killed.send_signal(signal.SIGKILL)
    killed.wait()
    other = start()
    assert len(work_in(store)) == 1, "that of the living one"
    assert len(Store(tmp_path / "cache").running()) == 3
    assert len(work_in(store)) == 1
    other.communicate("")
    assert other.returncode == 0
    assert work_in(store) == []
    assert len(store.running()) == 1


def test_a_killed_process_holds_nothing(
    start: Callable[[], subprocess.Popen[str]], store: Store
) -> None:
    process = start()
    process.kill()
    process.wait()
    with store.lock("name"), store.alone():
        pass


def test_locks_of_the_killed_are_removed_and_those_of_the_living_kept(
    start: Callable[[], subprocess.Popen[str]], store: Store
) -> None:
    process = start()
    locks.remove_unheld(store.top / "locks")
    assert "name" in os.listdir(store.top / "locks")
    process.kill()
    process.wait()
    locks.remove_unheld(store.top / "locks")
    assert "name" not in os.listdir(store.top / "locks")


def test_what_nobody_may_write_to_is_removed_too(tmp_path: Path) -> None:
    store = Store(tmp_path)
    left = store.top / "tmp/1-abc~left/read-only"
    left.mkdir(parents=True)
    left.chmod(0o500)
    Store(tmp_path)
    assert work_in(store) == []


def test_a_process_that_ends_leaves_no_sign_of_itself(tmp_path: Path) -> None:
    store = Store(tmp_path)
    top = store.top
    assert len(list((top / "running").iterdir())) == 1
    del store
    assert list((top / "running").iterdir()) == []
