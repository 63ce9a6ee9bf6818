"""Who calls: keys are kept as hashes, refused in one way for every reason, and end when they are told to."""

import hmac
from datetime import UTC, datetime, timedelta

import pytest

from core.access import authenticate
from core.access.authenticate import CACHE_SECONDS, Authenticator
from core.access.keys import new_key, parse_key
from core.access.tenants import (
    create_key,
    create_tenant,
    find_tenant,
    list_keys,
    list_tenants,
    revoke_key,
    webhook_secret,
)
from core.db.engine import Database
from core.domain.clock import SystemClock
from core.domain.errors import Conflict, NotFound, Unauthenticated
from core.runtime import OperatorRuntime
from tests.conftest import OwnerPool
from tests.support.tenants import Tenant


class Clock(SystemClock):
    """Time that passes when it is told to."""

    seconds = 1000.0

    def monotonic(self) -> float:
        return self.seconds


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def authenticator(database: Database, clock: Clock) -> Authenticator:
    return Authenticator(database, clock)


def public_id(key: str) -> str:
    presented = parse_key(key)
    assert presented is not None
    return presented.public_id


async def refused(authenticator: Authenticator, header: str | None) -> str:
    with pytest.raises(Unauthenticated) as refusal:
        await authenticator.authenticate(header)
    assert (refusal.value.status, refusal.value.code) == (401, "invalid_api_key")
    return refusal.value.message


@pytest.mark.parametrize("header", ["Bearer {}", "bearer {}", "BEARER {}", "Bearer   {}  "])
async def test_a_key_names_its_tenant(authenticator: Authenticator, tenant: Tenant, header: str) -> None:
    caller = await authenticator.authenticate(header.format(tenant.key))

    assert caller.tenant_id == tenant.id


@pytest.mark.parametrize("header", [None, "", "{}", "Basic {}", "Bearer", "Bearer ", "Token {}", "Bearer\t{}"])
async def test_a_header_that_is_not_a_bearers_is_told_what_to_send(
    authenticator: Authenticator, tenant: Tenant, header: str | None
) -> None:
    message = await refused(authenticator, None if header is None else header.replace("{}", tenant.key))

    assert "Authorization: Bearer inf_" in message


async def test_a_key_is_refused_in_the_same_words_whatever_is_wrong_with_it(
    authenticator: Authenticator, operator: OperatorRuntime, tenant: Tenant, owner: OwnerPool
) -> None:
    revoked = await create_key(operator.database, operator.clock, tenant.id, "revoked")
    expired = await create_key(operator.database, operator.clock, tenant.id, "expired", days=1)
    await revoke_key(operator.database, tenant.id, public_id(revoked.text))
    await owner.execute("UPDATE api_keys SET expires_at = now() WHERE id = $1", expired.id)
    unknown, _ = new_key()

    messages = {
        await refused(authenticator, f"Bearer {key}") for key in (unknown, revoked.text, expired.text, _forged(tenant))
    }

    assert messages == {"This API key is unknown, revoked or expired."}


def _forged(tenant: Tenant) -> str:
    """A well-formed key with the public id of a real one and another secret."""
    from core.access.keys import _check

    other, _ = new_key()
    head = f"inf_live_{public_id(tenant.key)}_{other.rpartition('_')[2][:43]}"
    return head + _check(head)


async def test_junk_is_refused_without_asking_the_database(
    authenticator: Authenticator, tenant: Tenant, owner: OwnerPool
) -> None:
    """A wrong check costs no look-up: it is refused even while the keys are locked."""
    async with owner.acquire() as connection, connection.transaction():
        await connection.execute("LOCK TABLE api_keys IN ACCESS EXCLUSIVE MODE")
        wrong = tenant.key[:-1] + ("0" if tenant.key[-1] != "0" else "1")
        await refused(authenticator, f"Bearer {wrong}")


async def test_only_a_hash_is_kept(tenant: Tenant, owner: OwnerPool) -> None:
    secret = tenant.key.rpartition("_")[2]
    stored = await owner.fetch("SELECT to_jsonb(k)::text AS row FROM api_keys AS k")

    assert len(stored) == 1
    assert public_id(tenant.key) in stored[0]["row"]
    assert secret not in stored[0]["row"]
    assert secret[:-6] not in stored[0]["row"]
    assert await owner.fetchval("SELECT secret_hash = sha256(convert_to($1, 'UTF8')) FROM api_keys", tenant.key)


async def test_the_hashes_are_compared_in_constant_time(
    authenticator: Authenticator, tenant: Tenant, monkeypatch: pytest.MonkeyPatch
) -> None:
    compared: list[tuple[int, int]] = []
    compare_digest = hmac.compare_digest

    def compare(left: bytes, right: bytes) -> bool:
        compared.append((len(left), len(right)))
        return compare_digest(left, right)

    monkeypatch.setattr(hmac, "compare_digest", compare)
    unknown, _ = new_key()
    await authenticator.authenticate(f"Bearer {tenant.key}")
    await refused(authenticator, f"Bearer {_forged(tenant)}")
    await refused(authenticator, f"Bearer {unknown}")

    # Also for an id that nobody has.
    assert compared == [(32, 32)] * 3


async def test_a_revoked_key_is_refused_after_the_cache_at_the_latest(
    authenticator: Authenticator, operator: OperatorRuntime, tenant: Tenant, clock: Clock, database: Database
) -> None:
    await authenticator.authenticate(f"Bearer {tenant.key}")
    await revoke_key(operator.database, tenant.id, public_id(tenant.key))

    clock.seconds += CACHE_SECONDS - 0.1
    await authenticator.authenticate(f"Bearer {tenant.key}")
    clock.seconds += 0.2
    await refused(authenticator, f"Bearer {tenant.key}")
    # Another process, which never saw the key, refuses it at once.
    await refused(Authenticator(database, clock), f"Bearer {tenant.key}")


async def test_what_was_refused_is_not_remembered_as_good(
    authenticator: Authenticator, operator: OperatorRuntime, tenant: Tenant
) -> None:
    key = await create_key(operator.database, operator.clock, tenant.id, "later")
    await refused(authenticator, f"Bearer {_forged(tenant)}")

    assert (await authenticator.authenticate(f"Bearer {key.text}")).key_id == key.id
    await refused(authenticator, f"Bearer {_forged(tenant)}")


async def test_the_cache_is_bounded(
    authenticator: Authenticator, operator: OperatorRuntime, tenant: Tenant, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(authenticate, "_CACHE_SIZE", 3)
    keys = [await create_key(operator.database, operator.clock, tenant.id, str(number)) for number in range(8)]

    for key in keys:
        await authenticator.authenticate(f"Bearer {key.text}")
        assert len(authenticator._known) <= 3


async def test_a_keys_use_is_noted_once_a_minute_and_only_if_it_was_the_key(
    database: Database, tenant: Tenant, owner: OwnerPool, clock: Clock
) -> None:
    used = "SELECT last_used_at FROM api_keys"
    await refused(Authenticator(database, clock), f"Bearer {_forged(tenant)}")
    assert await owner.fetchval(used) is None

    await Authenticator(database, clock).authenticate(f"Bearer {tenant.key}")
    first = await owner.fetchval(used)
    await Authenticator(database, clock).authenticate(f"Bearer {tenant.key}")
    assert await owner.fetchval(used) == first

    await owner.execute("UPDATE api_keys SET last_used_at = last_used_at - interval '61 seconds'")
    await Authenticator(database, clock).authenticate(f"Bearer {tenant.key}")
    assert await owner.fetchval(used) > first


async def test_a_key_may_end_by_itself(operator: OperatorRuntime, tenant: Tenant, owner: OwnerPool) -> None:
    key = await create_key(operator.database, operator.clock, tenant.id, "short", days=0.5)

    ends = await owner.fetchval("SELECT expires_at FROM api_keys WHERE id = $1", key.id)
    assert abs(ends - datetime.now(UTC) - timedelta(hours=12)) < timedelta(minutes=1)


async def test_keys_are_listed_for_their_tenant_without_their_secret(
    operator: OperatorRuntime, tenant: Tenant, other_tenant: Tenant
) -> None:
    listed = await list_keys(operator.database, tenant.id)

    assert [row.public_id for row in listed] == [public_id(tenant.key)]
    assert tenant.key.rpartition("_")[2] not in repr(listed)


async def test_a_revocation_is_the_tenants_own_and_is_done_once(
    operator: OperatorRuntime, tenant: Tenant, other_tenant: Tenant, authenticator: Authenticator
) -> None:
    with pytest.raises(NotFound):
        await revoke_key(operator.database, other_tenant.id, public_id(tenant.key))
    await authenticator.authenticate(f"Bearer {tenant.key}")

    first = await revoke_key(operator.database, tenant.id, public_id(tenant.key))
    assert await revoke_key(operator.database, tenant.id, public_id(tenant.key)) == first


async def test_tenants_have_names_of_their_own(operator: OperatorRuntime, tenant: Tenant) -> None:
    with pytest.raises(Conflict, match="already"):
        await create_tenant(operator.database, operator.sealer, tenant.name)
    with pytest.raises(NotFound, match="inferd tenants create nobody"):
        await find_tenant(operator.database, "nobody")

    assert await find_tenant(operator.database, tenant.name) == tenant.id
    assert [row.name for row in await list_tenants(operator.database)] == [tenant.name]
    assert (await webhook_secret(operator.database, operator.sealer, tenant.id)).startswith("whsec_")
