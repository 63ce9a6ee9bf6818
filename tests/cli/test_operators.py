"""Tenants and keys, by the commands, on a real database; and the API that takes the keys."""

import json
from pathlib import Path

import pytest

from cli import saved
from core.access.keys import parse_key
from core.settings import DatabaseSettings, Settings
from local.embedded.folders import make_root, make_serve_folder
from tests.cli.conftest import Invoke
from tests.support.explicit_settings import environment_of


@pytest.fixture
def environment(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> Settings:
    for name, value in environment_of(settings).items():
        monkeypatch.setenv(name, value)
    return settings


@pytest.mark.usefixtures("environment")
def test_a_tenant_is_made_once_and_listed(invoke: Invoke) -> None:
    made = json.loads(invoke("tenants", "create", "acme", "-o", "json").stdout)
    again = invoke("tenants", "create", "acme")
    assert (again.exit_code, again.stdout) == (1, "")
    assert "named 'acme' already" in again.stderr
    (row,) = json.loads(invoke("tenants", "list", "-o", "json").stdout)
    assert (row["id"], row["name"]) == (made["id"], "acme")
    table = invoke("tenants", "list").stdout.splitlines()
    assert table[0].split() == ["id", "name", "created", "at", "max", "slots"]
    assert table[1].split()[:2] == [made["id"], "acme"]


@pytest.mark.usefixtures("environment")
def test_a_tenants_slots_are_limited_and_given_back(invoke: Invoke) -> None:
    invoke("tenants", "create", "acme")

    def max_slots() -> int | None:
        (row,) = json.loads(invoke("tenants", "list", "-o", "json").stdout)
        found: int | None = row["max_slots"]
        return found

    assert max_slots() is None
    assert invoke("tenants", "limit", "acme", "--slots", "7").exit_code == 0
    assert max_slots() == 7
    assert invoke("tenants", "limit", "acme", "--slots", "none").exit_code == 0
    assert max_slots() is None
    for wrong in ("0", "-1", "many", "99999999999"):
        refused = invoke("tenants", "limit", "acme", "--slots", wrong)
        assert (refused.exit_code, max_slots()) == (2, None)
        assert "from 1 to" in refused.stderr
    assert invoke("tenants", "limit", "nobody", "--slots", "7").exit_code == 3


@pytest.mark.usefixtures("environment")
def test_a_tenant_without_a_name_is_refused(invoke: Invoke) -> None:
    assert invoke("tenants", "create", " ").exit_code == 2


@pytest.mark.usefixtures("environment")
def test_a_key_is_shown_once_and_can_be_revoked(invoke: Invoke) -> None:
    invoke("tenants", "create", "acme")
    created = invoke("keys", "create", "--tenant", "acme", "--name", "ci", "--days", "1")
    key = created.stdout.strip()
    presented = parse_key(key)
    assert presented is not None
    assert key not in created.stderr

    def listed() -> dict[str, str]:
        (row,) = json.loads(invoke("keys", "list", "--tenant", "acme", "-o", "json").stdout)
        return dict(row)

    row = listed()
    assert (row["key"], row["name"], row["state"]) == (f"inf_live_{presented.public_id}_…", "ci", "active")
    assert row["expires_at"]
    assert key not in invoke("keys", "list", "--tenant", "acme").stdout
    # What the list shows names the key as well as the key itself does.
    assert invoke("keys", "revoke", row["key"], "--tenant", "acme").exit_code == 0
    assert listed()["state"] == "revoked"
    assert invoke("keys", "revoke", key, "--tenant", "acme").exit_code == 0


@pytest.mark.usefixtures("environment")
@pytest.mark.parametrize(
    "command",
    [
        ["keys", "create", "--tenant", "nobody"],
        ["keys", "list", "--tenant", "nobody"],
        ["keys", "revoke", "inf_live_x", "--tenant", "nobody"],
        ["webhook-secret", "--tenant", "nobody"],
    ],
)
def test_an_unknown_tenant_is_3_and_says_how_to_make_it(command: list[str], invoke: Invoke) -> None:
    outcome = invoke(*command)
    assert (outcome.exit_code, outcome.stdout) == (3, "")
    assert "inferd tenants create nobody" in outcome.stderr


@pytest.mark.usefixtures("environment")
def test_the_webhook_secret_is_the_one_of_the_tenant(invoke: Invoke) -> None:
    invoke("tenants", "create", "one")
    invoke("tenants", "create", "two")
    one, two = (invoke("webhook-secret", "--tenant", name).stdout.strip() for name in ("one", "two"))
    assert one.startswith("whsec_")
    assert one != two
    assert invoke("webhook-secret", "--tenant", "one").stdout.strip() == one


def test_another_master_key_is_said_to_be_wrong(
    environment: Settings, invoke: Invoke, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("INFERD_MASTER_KEY", saved.new_master_key())
    assert invoke("tenants", "create", "sealed").exit_code == 0
    monkeypatch.setenv("INFERD_MASTER_KEY", saved.new_master_key())
    outcome = invoke("webhook-secret", "--tenant", "sealed")
    assert (outcome.exit_code, outcome.stdout) == (2, "")
    assert "INFERD_MASTER_KEY" in outcome.stderr


def test_a_database_that_is_away_is_5(environment: Settings, invoke: Invoke, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("INFERD_DATABASE_URL", "postgresql://inferd:hunter2@127.0.0.1:1/inferd")
    for command in (["tenants", "list"], ["migrate"]):
        monkeypatch.setenv("INFERD_DATABASE_OWNER_URL", "")
        outcome = invoke(*command)
        assert (outcome.exit_code, outcome.stdout) == (5, "")
        assert "does not answer" in outcome.stderr
        assert "hunter2" not in outcome.stderr


def test_an_empty_database_is_told_to_migrate_and_migrate_does(
    empty_database: DatabaseSettings, environment: Settings, invoke: Invoke, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert empty_database.owner_url is not None
    monkeypatch.setenv("INFERD_DATABASE_URL", empty_database.owner_url.get_secret_value())
    monkeypatch.setenv("INFERD_DATABASE_OWNER_URL", empty_database.owner_url.get_secret_value())
    before = invoke("tenants", "list")
    assert before.exit_code == 5
    assert "inferd migrate" in before.stderr
    assert "it was empty" in invoke("migrate").stdout
    assert "already up to date" in invoke("migrate").stdout
    assert invoke("tenants", "list").exit_code == 0


def test_without_variables_they_work_on_the_serve_that_runs(
    settings: Settings, invoke: Invoke, monkeypatch: pytest.MonkeyPatch, own_folder: Path
) -> None:
    data_dir = make_root(own_folder / "elsewhere").parent
    monkeypatch.setenv("INFERD_DATA_DIR", str(data_dir))
    make_serve_folder(data_dir)
    saved.save_secrets(data_dir, saved.Secrets(saved.new_master_key(), None))
    url = settings.database.url.get_secret_value()
    saved.save_running(data_dir, saved.Running("http://x", url, url, settings.redis.url.get_secret_value()))
    assert invoke("tenants", "create", "served").exit_code == 0
    assert invoke("webhook-secret", "--tenant", "served").stdout.startswith("whsec_")
    # Half a set-up is a mistake, and not meant for the one that runs.
    monkeypatch.setenv("INFERD_REDIS_URL", "redis://elsewhere")
    outcome = invoke("tenants", "list")
    assert outcome.exit_code == 2
    assert "INFERD_DATABASE_URL: is not set" in outcome.stderr
