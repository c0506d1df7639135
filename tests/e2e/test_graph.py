"""What users of the graph see: what runs after which change, and what SCons' options do."""

import json
import shutil
from pathlib import Path

from checkout import Clone

OUT = Path("out/x86_64")
UP_TO_DATE = "`verify' is up to date."


def test_a_clean_clone_gets_everything_from_the_cache(clone: Clone) -> None:
    run = clone.scons("verify", "wasm-bundle", "snapshot")

    assert run.code == 0, run.text
    assert run.built == set()
    assert {"qemu-native", "qemu-wasm", "x86_64/snapshot", "x86_64/verify"} <= run.cached
    assert (clone.top / OUT / "bundle/index.html").is_file()
    assert (clone.top / OUT / "pack/vm.state").stat().st_size > 1_000_000


def test_the_browser_read_back_what_was_written_before_the_snapshot(clone: Clone) -> None:
    verdict = json.loads((clone.top / OUT / "verify/verdict.json").read_text())

    assert "cat /tmp/before-migration" in json.dumps(verdict)
    assert (clone.top / OUT / "verify/screenshot.png").read_bytes().startswith(b"\x89PNG")


def test_nothing_to_do_runs_nothing(clone: Clone) -> None:
    run = clone.scons("verify")

    assert UP_TO_DATE in run.text
    assert run.built == run.cached == set()


def test_touching_files_runs_nothing(clone: Clone) -> None:
    for path in (*clone.top.glob("images/x86_64/**/*"), *clone.top.glob("qemu/**/*")):
        path.touch()

    assert UP_TO_DATE in clone.scons("verify").text


def test_a_comment_in_the_sconstruct_runs_nothing(clone: Clone) -> None:
    clone.edit("SConstruct", lambda text: text + "\n# a comment\n")

    assert UP_TO_DATE in clone.scons("verify").text


def test_a_comment_in_the_machine_description_runs_nothing(clone: Clone) -> None:
    clone.edit("images/x86_64/machine.yaml", lambda text: "# a comment\n" + text)

    assert UP_TO_DATE in clone.scons("verify").text


def test_results_come_back_without_out(clone: Clone) -> None:
    shutil.rmtree(clone.top / "out")

    run = clone.scons("wasm-bundle")

    assert run.code == 0, run.text
    assert run.built == set()
    assert "qemu-wasm" in run.cached


def test_a_deleted_result_comes_back(clone: Clone) -> None:
    clone.scons("snapshot")
    (clone.top / OUT / "pack/vm.state").unlink()
    shutil.rmtree(clone.top / OUT / "bundle")

    run = clone.scons("wasm-bundle", "snapshot")

    assert run.code == 0, run.text
    assert run.built == set()
    assert (clone.top / OUT / "pack/vm.state").is_file()
    assert (clone.top / OUT / "bundle/index.html").is_file()


def test_editing_a_result_does_not_harm_the_cache(clone: Clone) -> None:
    page = clone.top / OUT / "bundle/index.html"
    before = page.read_bytes()
    page.write_bytes(b"edited in out/")
    shutil.rmtree(clone.top / "out")

    clone.scons("wasm-bundle")

    assert page.read_bytes() == before


def test_a_result_that_was_edited_is_put_right(clone: Clone) -> None:
    page = clone.top / OUT / "bundle/index.html"
    before = page.read_bytes()
    page.write_bytes(b"edited in out/")

    run = clone.scons("wasm-bundle")

    assert page.read_bytes() == before
    assert run.built == run.cached == set()


def test_who_asks_for_the_bundle_gets_no_other_files(clone: Clone) -> None:
    shutil.rmtree(clone.top / "out")

    clone.scons("wasm-bundle")

    assert [path.name for path in (clone.top / OUT).iterdir()] == ["bundle"]


def test_dry_run_makes_nothing(clone: Clone) -> None:
    shutil.rmtree(clone.top / "out")

    run = clone.scons("-n", "wasm-bundle")

    assert run.code == 0, run.text
    assert "x86_64/snapshot" in run.text
    assert not (clone.top / OUT / "bundle").exists()


def test_clean_removes_results_and_nothing_else(clone: Clone) -> None:
    clone.scons("wasm-bundle")

    run = clone.scons("-c", "wasm-bundle")

    assert run.code == 0, run.text
    assert not (clone.top / OUT / "bundle").exists()
    assert not (clone.top / OUT / "pack/vm.state").exists()
    assert (clone.top / "images/x86_64/machine.yaml").is_file()


def test_an_overlay_edit_reruns_only_what_it_reaches(clone: Clone) -> None:
    clone.scons("verify")
    note = clone.top / "images/x86_64/rootfs/etc/e2e-note"
    note.write_text("a file that the test adds\n")

    run = clone.scons("-j1", "verify")

    assert run.code == 0, run.text
    ran = run.built | run.cached
    assert ran == {f"x86_64/{n}" for n in ("rootfs", "snapshot", "wasm-bundle", "verify")}


def test_keep_going_builds_what_does_not_depend_on_the_failure(clone: Clone) -> None:
    clone.edit("images/x86_64/kernel.config", lambda text: text + "CONFIG_NO_SUCH_OPTION=y\n")
    (clone.top / "images/x86_64/rootfs/etc/e2e-note").unlink()

    run = clone.scons("-k", "kernel", "rootfs")

    assert run.code == 2
    assert "NO_SUCH_OPTION" in run.text
    assert "x86_64/rootfs" in run.built | run.cached
