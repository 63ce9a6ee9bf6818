"""`inferd doctor --live`: one request to /livez, for a container's HEALTHCHECK. Imports next to nothing.

Reads its three variables itself, because loading core/settings.py takes ten times as long as the check.
"""

import os
from http import HTTPStatus
from http.client import HTTPConnection, HTTPException

from cli.exit_codes import CommandFailed, ExitCode

_SECONDS = 3.0
_DEFAULT_HOST, _DEFAULT_PORT = "127.0.0.1", "8700"
_EVERY_ADDRESS = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104 - looked up, not bound


def check_live(role: str) -> None:
    """Raises CommandFailed when the process does not respond with 200."""
    match role:
        case "api":
            host = os.environ.get("INFERD_API_HOST") or _DEFAULT_HOST
            _ask(_EVERY_ADDRESS.get(host, host), os.environ.get("INFERD_API_PORT") or _DEFAULT_PORT)
        case "worker" if port := os.environ.get("INFERD_WORKER_METRICS_PORT"):
            _ask("127.0.0.1", port)
        case "worker":
            raise CommandFailed("a worker can be checked only when INFERD_WORKER_METRICS_PORT is set", ExitCode.USAGE)
        case _:
            raise CommandFailed(f"there is no role {role!r}: api or worker", ExitCode.USAGE)


def _ask(host: str, port: str) -> None:
    try:
        connection = HTTPConnection(host, int(port), timeout=_SECONDS)
        connection.request("GET", "/livez")
        status = connection.getresponse().status
        connection.close()
    except (OSError, ValueError, OverflowError, HTTPException) as error:
        raise CommandFailed(f"nothing responds at {host}:{port} ({type(error).__name__})") from None
    if status != HTTPStatus.OK:
        raise CommandFailed(f"{host}:{port}/livez returns HTTP {status}")
