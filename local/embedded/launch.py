"""Becomes another program: drops root, asks to die with its parent, then execs. Run as a script, never imported.

The program runs as the given account, with default signals, and on Linux receives `signal` when the thread that started
it ends. It is a script instead of a preexec_fn, because that needs no Python code between fork and exec of a process
with threads, works under uvloop, and can run before root is dropped where the account can't reach Python.
processes.py calls it:  launch.py PARENT SIGNAL UID GID PROGRAM [ARGUMENT ...]   (UID -1: keep the account)
"""

import ctypes
import os
import signal
import sys

_PR_SET_PDEATHSIG = 1


def main(arguments: list[str]) -> None:
    parent, last_signal, uid, gid = (int(argument) for argument in arguments[:4])
    command = arguments[4:]
    # A shell's `command &` ignores SIGINT and SIGQUIT for all that it starts, and exec keeps that.
    for number in (signal.SIGINT, signal.SIGQUIT, signal.SIGTERM):
        signal.signal(number, signal.SIG_DFL)
    os.umask(0o077)
    if uid >= 0:
        os.setgroups([])
        os.setgid(gid)
        os.setuid(uid)
    if sys.platform == "linux":
        # After setuid, which clears it.
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, last_signal, 0, 0, 0)
        if os.getppid() != parent:
            sys.exit("the command that wanted this server is gone")
    os.execv(command[0], command)  # noqa: S606  no shell is wanted: the command comes from local/embedded itself


if __name__ == "__main__":
    main(sys.argv[1:])
