"""`inferd doctor --live`: one request to /livez, for a container's HEALTHCHECK. Imports next to nothing."""

from http import HTTPStatus
from http.client import HTTPConnection, HTTPException

from cli.exit_codes import CommandFailed, ExitCode

_SECONDS = 3.0
_EVERY_ADDRESS = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104 - looked up, not bound


def check_live(role: str, api_host: str, api_port: int, metrics_port: int | None) -> None:
    """Raises CommandFailed when nothing healthy answers."""
    if role == "api":
        _ask(_EVERY_ADDRESS.get(api_host, api_host), api_port)
    elif metrics_port is None:
        raise CommandFailed("a worker answers only when INFERD_WORKER_METRICS_PORT is set", ExitCode.USAGE)
    else:
        _ask("127.0.0.1", metrics_port)


def _ask(host: str, port: int) -> None:
    connection = HTTPConnection(host, port, timeout=_SECONDS)
    try:
        connection.request("GET", "/livez")
        status = connection.getresponse().status
    except (OSError, HTTPException) as error:
        raise CommandFailed(f"nothing answers at {host}:{port} ({type(error).__name__})") from None
    finally:
        connection.close()
    if status != HTTPStatus.OK:
        raise CommandFailed(f"{host}:{port}/livez answers HTTP {status}")
