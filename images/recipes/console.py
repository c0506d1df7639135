"""A serial console's text: shown as it comes, its end remembered, a command's output found."""

import sys

LINES = 20  # how much of the console an error shows


class Transcript:
    """Shows the console as it comes, and remembers its end."""

    def __init__(self) -> None:
        self._text = ""

    def write(self, text: str) -> None:
        sys.stdout.write(text)
        self._text = (self._text + text)[-LINES * 200 :]

    def flush(self) -> None:
        sys.stdout.flush()

    def tail(self) -> str:
        lines = self._text.replace("\r", "").splitlines()
        return "\n".join(f"  | {line}" for line in lines[-LINES:])


def after_echo(shown: str, command: str) -> str:
    """What follows the echo of a command, which the shell wraps at the terminal's width."""
    position = 0
    for character in command:
        while shown[position : position + 1] == "\n":
            position += 1
        if shown[position : position + 1] != character:
            return shown  # the echo is garbled: let the comparison fail and show it
        position += 1
    return shown[position:].removeprefix("\n")
