"""Exit codes, the same for every command, so that scripts can tell a failed job from a typo."""

from enum import IntEnum


class ExitCode(IntEnum):
    OK = 0
    FAILED = 1
    """A job that did not succeed, a check that failed, a server that died."""
    USAGE = 2
    """A wrong option or setting, or a request that the API rejects as invalid."""
    NOT_FOUND = 3
    """No such job, tenant or key. An API or a worker that could not start ends with it too (core/process.py)."""
    AUTH = 4
    UNREACHABLE = 5
    TIMED_OUT = 124
    """As the command `timeout` has it."""
    INTERRUPTED = 130
    """Ctrl-C, as shells have it."""


class CommandFailed(Exception):
    """Ends the command: the message goes to stderr and says what to do next."""

    def __init__(self, message: str, exit_code: ExitCode = ExitCode.FAILED) -> None:
        super().__init__(message)
        self.message = message
        self.exit_code = exit_code
