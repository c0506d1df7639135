"""What can be wrong with a server, as one line for people."""

LONGEST = 300  # characters of a server's own words that are shown


class RemoteError(Exception):
    """The server can't be used. Its text is a cause that fits in one line."""


class Lie(RemoteError):
    """The server's answer can't be true."""


class CallFailed(RemoteError):
    """A call ended with an error.

    code: the name of a gRPC status code, such as ``UNAVAILABLE``
    said: the server's own words, cleaned
    details: an encoded google.rpc.Status, or nothing
    """

    def __init__(self, code: str, said: str, text: str = "", details: bytes = b"") -> None:
        meaning = _MEANINGS.get(code, code.lower().replace("_", " "))
        super().__init__(text or (f"{meaning} ({said})" if said else meaning))
        self.code = code
        self.said = said
        self.details = details

    @property
    def passes(self) -> bool:
        """Whether trying again may help."""
        return self.code in _PASSING

    @property
    def denied(self) -> bool:
        return self.code in ("PERMISSION_DENIED", "UNAUTHENTICATED")


_MEANINGS = {
    "UNAVAILABLE": "cannot be reached",
    "DEADLINE_EXCEEDED": "does not answer in time",
    "UNAUTHENTICATED": "wants other credentials",
    "PERMISSION_DENIED": "does not permit it",
    "UNIMPLEMENTED": "does not offer what is needed",
}
# INTERNAL, UNKNOWN and CANCELLED are what broken connections look like, depending on the moment.
_PASSING = {"UNAVAILABLE", "ABORTED", "INTERNAL", "UNKNOWN", "CANCELLED", "RESOURCE_EXHAUSTED"}


def clean(text: str, secrets: tuple[str, ...] = ()) -> str:
    """Words from outside, fit for a line of ours: no secrets, no control characters, not long."""
    for secret in secrets:
        text = text.replace(secret, "***")
    text = " ".join("".join(c if c.isprintable() else " " for c in text).split())
    return text if len(text) <= LONGEST else text[:LONGEST] + "..."


def last_cause(text: str) -> str:
    """The last of gRPC's nested causes: ``Connection refused``, not the list of addresses."""
    text = text.rstrip("]").removesuffix(": OK")
    _, untrusted, why = text.partition("CERTIFICATE_VERIFY_FAILED: ")
    if untrusted:
        return f"its certificate is not trusted: {why}"
    nested = "last error: " in text or text.startswith("errors resolving")
    return text.rpartition(": ")[2] if nested else text
