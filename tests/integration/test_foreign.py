"""Thaw as a plugin: a SConstruct of someone else's, in a directory of its own."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
THAW = HERE.parents[1]


def test_a_foreign_sconstruct_builds_with_the_same_builders(tmp_path: Path) -> None:
    project = tmp_path / "project"
    shutil.copytree(HERE / "foreign", project)

    done = subprocess.run(
        [sys.executable, "-m", "SCons", f"THAW={THAW}"],
        cwd=project,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )

    assert done.returncode == 0, done.stdout
    results = project / "results"
    assert (results / "said.txt").read_text() == "hello from a foreign project\n"
    assert (results / "hello.wasm").read_bytes().startswith(b"\0asm")
    for name, output in {"disk": "rootfs.bin", "options": "config"}.items():
        manifest = json.loads((results / f"manifests/{name}.json").read_text())
        assert output in manifest["outputs"]
    assert not (project / "out").exists()
