"""`inferd keys create|list|revoke`."""

import json
from datetime import datetime

from cli.operate.operators import operate
from cli.terminal import print_table, progress
from core.access import tenants
from core.access.authenticate import CACHE_SECONDS
from core.access.keys import parse_key
from core.access.tenants import CreatedKey
from core.domain.ids import KEY, show
from core.runtime import OperatorRuntime


def create(tenant: str, name: str, days: float | None, *, as_json: bool) -> None:
    """Prints the key, which can't be read again. Raises NotFound for an unknown tenant."""

    async def work(operator: OperatorRuntime) -> CreatedKey:
        tenant_id = await tenants.find_tenant(operator.database, tenant)
        return await tenants.create_key(operator.database, operator.clock, tenant_id, name, days=days)

    created = operate(work)
    if as_json:
        print(json.dumps({"id": show(KEY, created.id), "name": name, "key": created.text}))
        return
    print(created.text)
    progress().print("Store it now: it can't be shown again.")


def list_all(tenant: str, *, as_json: bool) -> None:
    """Raises NotFound for an unknown tenant."""

    async def work(operator: OperatorRuntime) -> list[dict[str, str]]:
        tenant_id = await tenants.find_tenant(operator.database, tenant)
        now = operator.clock.now()
        return [
            {
                "key": f"inf_live_{row.public_id}_…",
                "name": row.name,
                "state": _state(row.revoked_at, row.expires_at, now),
                "created_at": _time(row.created_at),
                "last_used_at": _time(row.last_used_at),
                "expires_at": _time(row.expires_at),
            }
            for row in await tenants.list_keys(operator.database, tenant_id)
        ]

    rows = operate(work)
    if as_json:
        print(json.dumps(rows, indent=2, ensure_ascii=False))
    else:
        print_table(("key", "name", "state", "created_at", "last_used_at", "expires_at"), rows)


def revoke(tenant: str, key: str) -> None:
    """`key` is the key itself, or its public id, which lists and logs show. Raises NotFound."""
    presented = parse_key(key)
    public_id = presented.public_id if presented else key.removeprefix("inf_live_").partition("_")[0]

    async def work(operator: OperatorRuntime) -> datetime:
        tenant_id = await tenants.find_tenant(operator.database, tenant)
        return await tenants.revoke_key(operator.database, tenant_id, public_id)

    revoked_at = operate(work)
    progress().print(
        f"Revoked at {revoked_at.isoformat(timespec='seconds')}; every process rejects it within {CACHE_SECONDS:g} s."
    )


def _state(revoked_at: datetime | None, expires_at: datetime | None, now: datetime) -> str:
    if revoked_at is not None:
        return "revoked"
    return "expired" if expires_at is not None and expires_at <= now else "active"


def _time(value: datetime | None) -> str:
    return "" if value is None else value.isoformat(timespec="seconds")
