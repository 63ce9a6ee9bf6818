"""Every guard is needed: its scenario goes well as the product is, and goes wrong when the guard alone is gone."""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import pytest

from core.runtime import ApiRuntime, WorkerRuntime
from core.settings import Settings
from tests.conftest import OwnerPool
from tests.proofs.fresh import fresh_api, fresh_worker
from tests.proofs.guards import GUARDS, POLICIES, Guard, Policy, Scenario
from tests.proofs.mutation import mutated
from tests.proofs.stage import Stage
from tests.support.tenants import Tenant

each_guard = pytest.mark.parametrize("guard", GUARDS, ids=lambda guard: guard.name.replace(" ", "_"))
each_policy = pytest.mark.parametrize("policy", POLICIES, ids=lambda policy: policy.table)


Play = Callable[[Scenario], Awaitable[None]]


@pytest.fixture
def play(
    shared_runtimes: tuple[ApiRuntime, WorkerRuntime],
    clean: list[Settings],
    owner: OwnerPool,
    tenant: Tenant,
    other_tenant: Tenant,
) -> Play:
    """Plays a scenario on the product as it is at that moment."""

    async def play(scenario: Scenario) -> None:
        api, worker = shared_runtimes
        stage = Stage(fresh_api(api), fresh_worker(worker), owner, tenant, other_tenant)
        try:
            await scenario(stage)
        finally:
            await stage.enqueued()

    return play


@each_guard
async def test_with_it_all_is_well(play: Play, guard: Guard) -> None:
    await play(guard.scenario)


@pytest.mark.untidy
@each_guard
async def test_without_it_something_goes_wrong(play: Play, guard: Guard) -> None:
    with mutated(guard.file, guard.old, guard.new), pytest.raises(AssertionError):
        await play(guard.scenario)


@each_policy
async def test_with_row_level_security_all_is_well(play: Play, policy: Policy) -> None:
    await play(policy.scenario)


@each_policy
async def test_without_row_level_security_something_goes_wrong(play: Play, owner: OwnerPool, policy: Policy) -> None:
    async with _no_row_level_security(owner, policy.table):
        with pytest.raises(AssertionError):
            await play(policy.scenario)


@asynccontextmanager
async def _no_row_level_security(owner: OwnerPool, table: str) -> AsyncIterator[None]:
    await owner.execute(f"ALTER TABLE {table} DISABLE ROW LEVEL SECURITY")
    try:
        yield
    finally:
        await owner.execute(f"ALTER TABLE {table} ENABLE ROW LEVEL SECURITY")


def test_the_mutations_are_of_different_pieces() -> None:
    assert len({(guard.file, guard.old, guard.new) for guard in GUARDS}) == len(GUARDS)
    assert len({guard.name for guard in GUARDS}) == len(GUARDS)
