"""The one exception that is shown to users without a traceback."""


class ThawError(Exception):
    """Something the user can act on: what went wrong (naming the file), and the next step."""

    def __init__(self, message: str, *, remedy: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.remedy = remedy

    def __str__(self) -> str:
        return f"{self.message}\n  next: {self.remedy}" if self.remedy else self.message
