"""`inferd tenants create|list|limit` and `inferd webhook-secret`."""

import json
import shlex
from typing import Final

from cli.command_name import command_name
from cli.exit_codes import CommandFailed, ExitCode
from cli.operate.operators import operate
from cli.terminal import print_table, progress
from core.access import tenants
from core.db.sealed import SealBroken
from core.domain.ids import TENANT, TenantId, show
from core.runtime import OperatorRuntime

_MOST_SLOTS: Final = 1_000_000


def create(name: str, *, as_json: bool) -> None:
    """Raises Conflict when the name is taken."""

    async def work(operator: OperatorRuntime) -> TenantId:
        return await tenants.create_tenant(operator.database, operator.sealer, name)

    if not name.strip():
        raise CommandFailed("A tenant needs a name.", ExitCode.USAGE)
    tenant_id = show(TENANT, operate(work))
    print(json.dumps({"id": tenant_id, "name": name}) if as_json else tenant_id)
    if not as_json:
        next_step = f"{command_name()} keys create --tenant {shlex.quote(name)}"
        progress().print(f"Created. Next, an API key: {next_step}", soft_wrap=True)


def list_all(*, as_json: bool) -> None:
    async def work(operator: OperatorRuntime) -> list[dict[str, str | int | None]]:
        return [
            {
                "id": show(TENANT, row.id),
                "name": row.name,
                "created_at": row.created_at.isoformat(timespec="seconds"),
                "max_slots": row.max_slots,
            }
            for row in await tenants.list_tenants(operator.database)
        ]

    rows = operate(work)
    if as_json:
        print(json.dumps(rows, indent=2))
    else:
        shown = [{name: "share" if value is None else str(value) for name, value in row.items()} for row in rows]
        print_table(("id", "name", "created_at", "max_slots"), shown)


def limit(name: str, slots: str) -> None:
    """`slots` is a number or "none". Raises NotFound for an unknown tenant."""
    if slots != "none" and (not slots.isascii() or not slots.isdigit() or not 0 < int(slots) <= _MOST_SLOTS):
        raise CommandFailed(f"--slots takes a number from 1 to {_MOST_SLOTS}, or none.", ExitCode.USAGE)
    max_slots = None if slots == "none" else int(slots)

    async def work(operator: OperatorRuntime) -> None:
        tenant_id = await tenants.find_tenant(operator.database, name)
        await tenants.limit_tenant(operator.database, tenant_id, max_slots)

    operate(work)
    what = "its share of all slots" if max_slots is None else f"{max_slots} slots at once"
    progress().print(f"{name} may use {what}; workers apply it within seconds.", soft_wrap=True)


def print_webhook_secret(tenant: str) -> None:
    """Raises NotFound for an unknown tenant."""

    async def work(operator: OperatorRuntime) -> str:
        tenant_id = await tenants.find_tenant(operator.database, tenant)
        return await tenants.webhook_secret(operator.database, operator.sealer, tenant_id)

    try:
        print(operate(work))
    except SealBroken:
        raise CommandFailed(
            "The secret was encrypted with another master key: set INFERD_MASTER_KEY to the one the API uses.",
            ExitCode.USAGE,
        ) from None
