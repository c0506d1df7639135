"""The serial console's text, as the snapshot reads it."""

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[2] / "images" / "recipes"))

from console import LINES, Transcript, after_echo


@pytest.mark.parametrize(
    ("shown", "command", "printed"),
    [
        ("cat x\ntest\n", "cat x", "test\n"),
        ("true\n", "true", ""),
        ("a long co\nmmand\nout\n", "a long command", "out\n"),  # wrapped by the shell
        ("printf x\nx", "printf x", "x"),
        ("echo\n\n", "echo", "\n"),
        ("ca[ 1.0] usb: hello\nt x\ntest\n", "cat x", "ca[ 1.0] usb: hello\nt x\ntest\n"),
        ("", "true", ""),
    ],
)
def test_the_output_is_what_follows_the_echo(shown: str, command: str, printed: str) -> None:
    assert after_echo(shown, command) == printed


def test_the_transcript_is_shown_and_its_end_kept(capsys: pytest.CaptureFixture[str]) -> None:
    transcript = Transcript()
    for number in range(10_000):
        transcript.write(f"line {number}\r\r\n")
    assert capsys.readouterr().out.startswith("line 0")
    lines = transcript.tail().splitlines()
    assert len(lines) == LINES
    assert lines[-1] == "  | line 9999"
