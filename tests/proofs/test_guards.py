"""Every guard is needed: its scenario goes well as the product is, and goes wrong when the guard alone is gone."""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import pytest

from core.runtime import ApiRuntime, WorkerRuntime
from core.settings import Settings
from tests.conftest import OwnerPool
from tests.proofs.fresh import fresh_api, fresh_worker
from tests.proofs.guard_stage import GuardStage
from tests.proofs.guards import GUARDS, POLICIES, Guard, Policy, Scenario
from tests.proofs.mutation import marks, without
from tests.support.tenants import Tenant

each_guard = pytest.mark.parametrize("guard", GUARDS, ids=lambda guard: guard.name)
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
    """Runs a scenario on the product as it is at that moment."""

    async def play(scenario: Scenario) -> None:
        api, worker = shared_runtimes
        stage = GuardStage(fresh_api(api), tenant, owner, fresh_worker(worker), other_tenant)
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
    with without(guard.name, guard.change), pytest.raises(AssertionError):
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


def test_each_guard_is_marked_once_in_the_product_and_each_mark_has_its_scenario() -> None:
    """A guard that was moved takes its mark along; one that is added needs a line in tests/proofs/guards.py."""
    assert sorted(name for name, _ in marks()) == sorted(guard.name for guard in GUARDS)
