"""The machine of a run: processors, memory, disk, versions, and its load."""

import os
import platform
import sys
import tempfile
import time
from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from statistics import median
from typing import Final

import psutil
from pydantic import JsonValue

from core.version import VERSION

_PACKAGES: Final = (
    "fastapi", "uvicorn", "uvloop", "pydantic", "orjson", "asyncpg", "sqlalchemy", "sqlmodel", "redis", "hiredis",
    "arq", "openai", "httpx2", "procrastinate", "psycopg",
)  # fmt: skip
_FLUSHES: Final = 50
_BUSY: Final = 0.75


def facts(servers: Mapping[str, str]) -> dict[str, JsonValue]:
    """Returns the facts of this machine; `servers` are the versions of PostgreSQL and Valkey."""
    return {
        "inferd": VERSION,
        "processor": _processor(),
        "cores": os.cpu_count(),
        "memory_gb": round(psutil.virtual_memory().total / 2**30, 1),
        "system": f"{platform.system()} {platform.release()}",
        "python": sys.version.split()[0],
        "disk_flush_ms": disk_flush_ms(),
        "load_average_before": round(os.getloadavg()[0], 2),
        **servers,
        **{name: _version(name) for name in _PACKAGES},
    }


def disk_flush_ms() -> float:
    """Returns the median milliseconds of one small flushed write: no durable commit is faster."""
    times = []
    with tempfile.TemporaryFile() as file:
        file.write(bytes(8192 * _FLUSHES))
        os.fsync(file.fileno())
        for number in range(_FLUSHES):
            started = time.perf_counter()
            os.pwrite(file.fileno(), b"x" * 8192, number * 8192)
            os.fsync(file.fileno())
            times.append((time.perf_counter() - started) * 1000)
    return round(median(times), 2)


def wait_until_quiet(seconds: float) -> float:
    """Waits until no other process uses most of a core, for `seconds` at most; returns the load average."""
    give_up_at = time.monotonic() + seconds
    while (load := os.getloadavg()[0]) > _BUSY and time.monotonic() < give_up_at:
        time.sleep(1)
    return load


def _processor() -> str:
    info = Path("/proc/cpuinfo")
    if info.exists():
        for line in info.read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None
