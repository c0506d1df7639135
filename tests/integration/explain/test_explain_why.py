"""``why``: what made a step run, before and after it did.

The toolchain's lock is edited here."""

import json
from collections.abc import Callable
from pathlib import Path

from small_project import BEFORE, NEVER, Project, digest_of, lock


def test_before_the_first_build_nothing_is_known_and_nothing_built(
    make_project: Callable[[Path], Project], cache: Path
) -> None:
    project = make_project(cache)

    assert project.ask("why", "bundle")[0] == "m/bundle: not built yet in this checkout"
    assert not (project.top / "out/manifests/m/bundle.json").exists()


def test_an_edit_in_a_directory_is_named_before_and_after_the_build(project: Project) -> None:
    old = digest_of(project, "tree/etc/motd")
    new = project.write("tree/etc/motd", f"changed {project.top}\n")
    edit = f"tree/etc/motd changed: {old} -> {new}"

    assert project.ask("why") == [
        "m/bundle: runs only if other bytes come from m/rootfs",
        f"  m/rootfs: the next build runs it {NEVER}",
        f"    {edit}",
    ]
    project.run()
    assert project.ask("why", "bundle") == [
        f"m/bundle: up to date; last: ran {NEVER}",
        f"  input /deps/a changed: {old} -> {new}, from m/rootfs",
        f"    m/rootfs: ran {NEVER}",
        f"      {edit}",
    ]


def test_back_to_what_was_built_before_comes_from_the_cache(project: Project) -> None:
    text = (project.top / "tree/etc/motd").read_text()
    new = project.write("tree/etc/motd", f"changed {project.top}\n")
    project.run()
    old = project.write("tree/etc/motd", text)

    assert (
        project.ask("why", "rootfs")[0]
        == f"m/rootfs: the next build takes it from the cache {BEFORE}"
    )
    project.run()
    assert project.ask("why", "rootfs") == [
        f"m/rootfs: up to date; last: taken from the cache {BEFORE}",
        f"  tree/etc/motd changed: {new} -> {old}",
    ]


def test_equal_bytes_stop_a_change_and_are_told(project: Project) -> None:
    old = digest_of(project, "words")
    new = project.write("words", (project.top / "words").read_text().replace("some", "SOME"))
    project.run()

    assert project.ask("why", "bundle")[1:] == [
        "upper ran later, but gave the same bytes: m/bundle did not run",
        f"  upper: ran {NEVER}",
        f"    words changed: {old} -> {new}",
    ]


def test_a_description_that_changed_is_told_by_key(project: Project) -> None:
    project.edit("SConstruct", '"size": 1', '"size": 2')

    assert "  /src/options.json: disk.size changed: '1' -> '2'" in project.ask("why", "rootfs")


def test_a_package_in_the_lock_that_changed_is_told_by_version(project: Project) -> None:
    """``bc`` gets a new version (with other files in it), and another package goes."""
    value = lock()
    packages = {
        entry["debian"].rpartition("/")[2].split("_")[0]: entry for entry in value["packages"]
    }
    bc = packages["bc"]
    version = bc["debian"].rpartition("_")[0].rpartition("_")[2]
    bc |= {
        "debian": bc["debian"].replace(version, "99.1"),
        "sha256": packages["base-files"]["sha256"],
    }
    bc |= {"size": packages["base-files"]["size"]}
    value["packages"].remove(packages["base-files"])
    project.write("small.lock", json.dumps(value))
    base = packages["base-files"]["debian"].rpartition("_")[0].rpartition("_")[2]
    told = [f"package base-files {base} removed", f"package bc {version} -> 99.1"]

    before = project.ask("why")
    project.run()
    after = project.ask("why")

    assert [line.strip() for line in before if "package" in line] == told
    assert [line.strip() for line in after if "package" in line] == told
    assert any("new toolchain: " in line and "from toolchain small" in line for line in after)


def test_a_damaged_result_is_told(make_project: Callable[[Path], Project], tmp_path: Path) -> None:
    project = make_project(tmp_path / "cache of its own")
    project.run()
    manifest = json.loads((project.top / "out/manifests/m/bundle.json").read_text())
    blob = manifest["outputs"]["r"]["file"].partition("/")[0]
    (project.cache / "v1/cas" / blob[:2] / blob).unlink()
    (project.top / "out/.sconsign.dblite").unlink()
    project.run()

    assert project.ask("why", "bundle") == [
        "m/bundle: up to date; last: ran (its result in the cache was damaged)"
    ]


def test_another_cache_is_told(
    make_project: Callable[[Path], Project], project: Project, tmp_path: Path
) -> None:
    moved = Project(project.top, tmp_path / "another cache", project.distdir)
    lines = moved.ask("why", "toolchain small")

    assert lines == [
        "toolchain small: the cache is another one than the time before;"
        f" the next build runs it {NEVER}"
    ]
    moved.run()
    assert moved.ask("why", "rootfs") == [
        "m/rootfs: up to date; last: ran (the cache is another one than the time before)"
    ]


def test_a_damaged_record_is_not_known_and_breaks_nothing(project: Project) -> None:
    record = project.top / "out/manifests/m/rootfs.step"
    record.write_bytes(record.read_bytes()[:100])
    new = project.write("tree/etc/motd", f"changed {project.top}\n")

    assert project.ask("why", "rootfs") == [
        "m/rootfs: how it was made is not known: its record is missing or damaged"
    ]
    project.run()
    assert (project.top / "out/m/bundle.txt").read_text().startswith("changed")
    assert any(new in line for line in project.ask("why", "bundle"))


def test_a_target_may_be_named_by_alias_step_manifest_file_and_directory(project: Project) -> None:
    names = (
        "bundle",
        "m/bundle",
        "out/manifests/m/bundle.json",
        "out/m/bundle.txt",
        "./out/m/bundle.txt",
    )

    assert len({tuple(project.ask("why", name)) for name in names}) == 1


def test_an_unknown_target_is_an_error_that_names_the_known_ones(project: Project) -> None:
    done = project.run("why", "bundel", check=False)

    assert done.returncode == 2
    assert "bundel: is not made by any step" in done.stderr
    assert "bundle, fails, graph, rootfs" in done.stderr


def test_names_before_the_question_are_built_first(project: Project) -> None:
    old = digest_of(project, "tree/etc/motd")
    new = project.write("tree/etc/motd", f"changed {project.top}\n")

    assert project.ask("rootfs", "why")[-1] == f"  tree/etc/motd changed: {old} -> {new}"
