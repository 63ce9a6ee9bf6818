"""A command that runs the embedded servers, for tests that need a process of their own to kill or to run as a user.

    python command.py DATA_DIR [--model] [--leave-orphans]

Prints one line of JSON once all is ready, then runs until its standard input ends.
"""

import argparse
import asyncio
import json
import sys
from collections.abc import Sequence
from dataclasses import fields
from pathlib import Path
from signal import Signals

from cli.saved import root_of
from local.embedded import processes
from local.embedded.leftovers import _recorded
from local.embedded.privileges import Account
from local.embedded.supervisor import run_embedded

_BECOME = "import os, sys; os.setgroups([]); os.setgid({gid}); os.setuid({uid}); os.execv(sys.argv[1], sys.argv[1:])"


def _without_leash(command: Sequence[str], account: Account | None, last_signal: Signals) -> list[str]:
    """What macOS does: nothing ends a child with its parent."""
    if account is None:
        return list(command)
    return [sys.executable, "-c", _BECOME.format(uid=account.uid, gid=account.gid), *command]


async def main(data_dir: Path, *, model: bool) -> None:
    loop = asyncio.get_running_loop()
    stdin = asyncio.StreamReader()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(stdin), sys.stdin)
    async with run_embedded(data_dir, with_model=model, postgres_settings={"fsync": "off"}) as servers:
        about: dict[str, object] = {
            one.name: getattr(servers, one.name) for one in fields(servers) if not one.name.startswith("_")
        }
        about["pids"] = {name: one.pid for name, one in _recorded(root_of(data_dir)).items()}
        sys.stdout.write(json.dumps(about) + "\n")
        sys.stdout.flush()
        await stdin.read()


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("data_dir", type=Path)
    parser.add_argument("--model", action="store_true")
    parser.add_argument("--leave-orphans", action="store_true")
    arguments = parser.parse_args()
    if arguments.leave_orphans:
        processes.launcher = _without_leash
    asyncio.run(main(arguments.data_dir, model=arguments.model))
