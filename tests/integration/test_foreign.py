"""Thaw as a plugin: a SConstruct of someone else's, in a directory of its own."""

import json
import shutil
from pathlib import Path

from checkout import TOP, scons

HERE = Path(__file__).resolve().parent


def test_a_foreign_sconstruct_builds_with_the_same_builders(tmp_path: Path) -> None:
    project = tmp_path / "project"
    shutil.copytree(HERE / "foreign", project)

    run = scons(project, f"THAW={TOP}")

    assert run.code == 0, run.text
    results = project / "results"
    assert (results / "said.txt").read_text() == "hello from a foreign project\n"
    assert (results / "hello.wasm").read_bytes().startswith(b"\0asm")
    for name, output in {"disk": "rootfs.bin", "options": "config"}.items():
        manifest = json.loads((results / f"manifests/{name}.json").read_text())
        assert output in manifest["outputs"]
    assert not (project / "out").exists()
