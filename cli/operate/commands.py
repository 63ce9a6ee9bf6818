"""The commands of operators: processes, migrations, the doctor, tenants, keys and webhook secrets.

Registered by cli/app.py. Settings come from INFERD_ variables, or from the running `inferd serve` where none are set.
"""

from enum import StrEnum
from typing import Annotated

import typer

from cli.options import Output, OutputOption, TenantOption

_PANEL = "In production"
_DEFAULT = "default"
tenants = typer.Typer(help="Manage tenants: organisations whose data is their own.", no_args_is_help=True)
keys = typer.Typer(help="Manage the API keys of a tenant.", no_args_is_help=True)
TenantArgument = Annotated[str, typer.Argument(help="The tenant's name.")]


class Role(StrEnum):
    API = "api"
    WORKER = "worker"


def register(app: typer.Typer) -> None:
    for command in (api, worker, migrate, doctor):
        app.command(rich_help_panel=_PANEL)(command)
    app.add_typer(tenants, name="tenants", rich_help_panel=_PANEL)
    app.add_typer(keys, name="keys", rich_help_panel=_PANEL)
    app.command("webhook-secret", rich_help_panel=_PANEL)(webhook_secret)


def api() -> None:
    """Run the API server."""
    from cli.operate.roles import API, become

    become(API)


def worker() -> None:
    """Run a worker."""
    from cli.operate.roles import WORKER, become

    become(WORKER)


def migrate() -> None:
    """Migrate the database to the newest schema, as its owner."""
    from cli.operate.roles import migrate_database

    migrate_database()


def doctor(
    role: Annotated[Role, typer.Argument(help="With --live: the process to check.")] = Role.API,
    live: Annotated[
        bool, typer.Option("--live", help="Only check whether the process on this machine is alive, for probes.")
    ] = False,
    output: OutputOption = Output.TEXT,
) -> None:
    """Check settings, PostgreSQL, Redis, migrations and providers, and say what to fix."""
    if live:
        from cli.operate.liveness import check_live

        check_live(role.value)
        return
    from cli.operate.doctor import doctor as examine

    raise typer.Exit(examine(as_json=output is Output.JSON))


@tenants.command("create")
def create_tenant(
    name: Annotated[str, typer.Argument(help="A name that no other tenant has.")], output: OutputOption = Output.TEXT
) -> None:
    """Create a tenant and print its id."""
    from cli.operate.tenants import create

    create(name, as_json=output is Output.JSON)


@tenants.command("list")
def list_tenants(output: OutputOption = Output.TEXT) -> None:
    """List all tenants."""
    from cli.operate.tenants import list_all

    list_all(as_json=output is Output.JSON)


@tenants.command("limit")
def limit_tenant(
    name: TenantArgument,
    slots: Annotated[
        str, typer.Option(help="Maximum number of worker slots, or none for the share that every tenant has.")
    ],
) -> None:
    """Limit the worker slots that a tenant may use at the same time."""
    from cli.operate.tenants import limit

    limit(name, slots)


@keys.command("create")
def create_key(
    tenant: TenantOption = _DEFAULT,
    name: Annotated[str, typer.Option(help="What the key is used for.")] = "unnamed",
    days: Annotated[float | None, typer.Option(min=0, help="Days until the key expires. Default: never.")] = None,
    output: OutputOption = Output.TEXT,
) -> None:
    """Create an API key and print it; it can't be shown again."""
    from cli.operate.keys import create

    create(tenant, name, days, as_json=output is Output.JSON)


@keys.command("list")
def list_keys(tenant: TenantOption = _DEFAULT, output: OutputOption = Output.TEXT) -> None:
    """List a tenant's keys, without their secrets."""
    from cli.operate.keys import list_all

    list_all(tenant, as_json=output is Output.JSON)


@keys.command("revoke")
def revoke_key(
    key: Annotated[str, typer.Argument(help="The key, or its public part inf_live_….")],
    tenant: TenantOption = _DEFAULT,
) -> None:
    """Revoke an API key."""
    from cli.operate.keys import revoke

    revoke(tenant, key)


def webhook_secret(tenant: TenantOption = _DEFAULT) -> None:
    """Print a tenant's webhook signing secret."""
    from cli.operate.tenants import print_webhook_secret

    print_webhook_secret(tenant)
