"""Pastes the blocks of a document into a shell, as a reader would beside a running `inferd serve`."""

import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from local.processes import free_port
from tests.architecture.repository import read
from tests.journeys.serving import Place, Serve

_BLOCK = re.compile(r"(?ms)(?:[Ss]ave this as `([\w.]+)`[^`]*)?^```(sh|python)\n(.*?)^```$")
# They start or install a whole system: `make demo`, `make serve` and `make test`, and the one of Docker Compose.
_ELSEWHERE = ("make ", "cp .env.example")


@contextmanager
def pasted(document: str, place: Place, serve: Serve) -> Iterator[tuple[subprocess.Popen[bytes], Path]]:
    """Yields the shell, which ends at the first command that fails, and the file of all that is printed in it."""
    (place.folder / ".venv").unlink(missing_ok=True)
    (place.folder / ".venv").symlink_to(sys.prefix)
    text = read(document).replace(":8700", f":{place.port}").replace("9000", str(free_port("127.0.0.1")))
    lines = [line.strip() for line in serve.said if "export INFERD_API_KEY=" in line]
    for name, language, body in _BLOCK.findall(text):
        if name:
            (place.folder / name).write_text(body)
        elif language == "sh" and not body.startswith(_ELSEWHERE):
            lines.append(body)
    assert len(lines) > 3
    printed = place.folder / f"{Path(document).stem}.log"
    with printed.open("wb") as log:
        shell = subprocess.Popen(
            ["bash", "-e", "-u", "-c", "\n".join(lines)],
            cwd=place.folder,
            env={**place.environment, "PATH": os.defpath + ":/usr/local/bin"},
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
    try:
        yield shell, printed
    finally:
        # The receiver is in the background of the shell, and in its group.
        with suppress(ProcessLookupError):
            os.killpg(shell.pid, signal.SIGKILL)
        shell.wait()
