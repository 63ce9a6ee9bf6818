"""`inferd tenants`, `inferd keys`, `inferd webhook-secret`: who may call, and what signs their webhooks."""

from typing import Annotated

import typer

from cli.options import Output, OutputOption, TenantOption

_PANEL = "In production"
_DEFAULT = "default"
tenants = typer.Typer(help="Tenants: organisations whose data is their own.", no_args_is_help=True)
keys = typer.Typer(help="API keys of a tenant.", no_args_is_help=True)


def register(app: typer.Typer) -> None:
    app.add_typer(tenants, name="tenants", rich_help_panel=_PANEL)
    app.add_typer(keys, name="keys", rich_help_panel=_PANEL)
    app.command("webhook-secret", rich_help_panel=_PANEL)(webhook_secret)


@tenants.command("create")
def create_tenant(
    name: Annotated[str, typer.Argument(help="A name of its own.")], output: OutputOption = Output.TEXT
) -> None:
    """Make a tenant and print its id."""
    from cli.operate.tenants import create

    create(name, as_json=output is Output.JSON)


@tenants.command("list")
def list_tenants(output: OutputOption = Output.TEXT) -> None:
    """List the tenants."""
    from cli.operate.tenants import list_all

    list_all(as_json=output is Output.JSON)


@tenants.command("limit")
def limit_tenant(
    name: Annotated[str, typer.Argument(help="The tenant's name.")],
    slots: Annotated[str, typer.Option(help="Worker slots that it may use at once, or none for its share of all.")],
) -> None:
    """Cap the worker slots that a tenant uses at once."""
    from cli.operate.tenants import limit

    limit(name, slots)


@keys.command("create")
def create_key(
    tenant: TenantOption = _DEFAULT,
    name: Annotated[str, typer.Option(help="What it is for.")] = "unnamed",
    days: Annotated[float | None, typer.Option(min=0, help="End it after so many days. Default: never.")] = None,
    output: OutputOption = Output.TEXT,
) -> None:
    """Make an API key and print it, this once."""
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
    """End an API key."""
    from cli.operate.keys import revoke

    revoke(tenant, key)


def webhook_secret(tenant: TenantOption = _DEFAULT) -> None:
    """Print a tenant's webhook signing secret."""
    from cli.operate.tenants import print_webhook_secret

    print_webhook_secret(tenant)
