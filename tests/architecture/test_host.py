"""The page for a host without Docker: its units and its nginx fit the commands, the settings and each other."""

import re

import pytest

from core.settings import ApiSettings, WorkerSettings, variables
from tests.architecture.command_line import problem_with
from tests.architecture.repository import read

PAGE = read("docs/operations/host.md")
UNITS = dict(re.findall(r"(?ms)^`/etc/systemd/system/([\w@.-]+)`.*?^```ini\n(.*?)^```$", PAGE))


def value(unit: str, name: str) -> str:
    (found,) = re.findall(rf"(?m)^{name}=(.+)$", UNITS[unit])
    return str(found)


def number(directive: str) -> int:
    (found,) = re.findall(rf"(?m)^\s+{directive} (\d+)[sm];", PAGE)
    return int(found)


@pytest.mark.parametrize("unit", ["inferd-migrate.service", "inferd-api@.service", "inferd-worker@.service"])
def test_a_unit_starts_a_command_that_exists_with_the_settings_of_the_page(unit: str) -> None:
    path, command = value(unit, "ExecStart").rsplit("/", 1)
    assert path == "/opt/inferd/current/bin"
    assert problem_with(command) is None
    assert f"`{value(unit, 'EnvironmentFile')}`" in PAGE


def test_a_worker_may_drain_before_it_is_killed() -> None:
    assert int(value("inferd-worker@.service", "TimeoutStopSec")) > WorkerSettings().drain_seconds + 10
    assert int(value("inferd-api@.service", "TimeoutStopSec")) > ApiSettings().shutdown_seconds


def test_nginx_fits_the_defaults_of_the_api() -> None:
    api = ApiSettings()
    assert number("keepalive_timeout") < api.idle_seconds
    assert number("proxy_read_timeout") > api.max_wait_seconds
    assert number("client_max_body_size") << 20 >= api.max_bulk_bytes


def test_nginx_calls_the_ports_that_are_started_and_restarted() -> None:
    ports = re.findall(r"(?m)^\s+server 127\.0\.0\.1:(\d+);", PAGE)
    for line in re.findall(r"(?m)^(?:systemctl enable|for unit in).*$", PAGE):
        assert re.findall(r"inferd-api@(\d+)", line) == ports


def test_the_environment_file_has_settings_that_exist() -> None:
    (body,) = re.findall(r"(?ms)^```ini\n(INFERD_.*?)^```$", PAGE)
    assert {line.partition("=")[0] for line in body.splitlines()} <= set(variables())
