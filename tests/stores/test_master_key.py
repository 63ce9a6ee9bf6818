"""A process with a wrong master key, or with none where there was one, is refused before it does harm."""

import asyncio
import base64
import secrets
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager

import pytest

from cli.operate.checks.finding import Level
from cli.operate.checks.stores import check_database
from core.access.master_key import WrongMasterKey, check_master_key
from core.access.tenants import create_tenant, webhook_secret
from core.db.engine import DatabaseUnusable, open_database
from core.db.sealed import make_sealer
from core.runtime import open_api, open_operator, open_worker
from core.settings import Settings
from tests.conftest import MakeSettings, OwnerPool
from tests.support.tenants import Tenant
from tests.support.waiting import eventually
from tests.worker.proxy import open_proxy, through
from tests.worker.worker_process import run_process

Open = Callable[[Settings], AbstractAsyncContextManager[object]]
OPENERS: list[Open] = [open_api, open_worker]
each_opener = pytest.mark.parametrize("opened", OPENERS, ids=["api", "worker"])


def new_key() -> str:
    return base64.b64encode(secrets.token_bytes(32)).decode()


async def starts(opened: Open, settings: Settings) -> bool:
    try:
        async with opened(settings):
            return True
    except WrongMasterKey as refused:
        return not str(refused).startswith("INFERD_MASTER_KEY: ")


async def master_key_level(settings: Settings) -> Level | None:
    """As `inferd doctor` shows it; None when it shows nothing of it."""
    return next((each.level for each in await check_database(settings) if each.name == "master key"), None)


@each_opener
async def test_the_first_key_is_the_databases_and_every_other_is_refused(
    make_settings: MakeSettings, owner: OwnerPool, tenant: Tenant, opened: Open
) -> None:
    plain, right, wrong = make_settings(), make_settings(master_key=new_key()), make_settings(master_key=new_key())
    assert await starts(opened, plain)
    assert await owner.fetchval("SELECT count(*) FROM seals") == 0
    # A database that had no key may get one, and what was written before stays readable.
    assert await starts(opened, right)
    canary = await owner.fetchval("SELECT canary FROM seals")
    assert [await starts(opened, each) for each in (plain, wrong, right)] == [False, False, True]
    assert await owner.fetchval("SELECT canary FROM seals") == canary
    async with open_operator(right) as operator:
        assert await webhook_secret(operator.database, operator.sealer, tenant.id) == tenant.webhook_secret


@each_opener
async def test_a_database_that_an_older_release_sealed_is_known_by_a_tenants_secret(
    make_settings: MakeSettings, owner: OwnerPool, opened: Open
) -> None:
    plain, right, wrong = make_settings(), make_settings(master_key=new_key()), make_settings(master_key=new_key())
    async with open_operator(right) as operator:
        await create_tenant(operator.database, operator.sealer, "sealed")
    await owner.execute("DELETE FROM seals")
    assert [await starts(opened, each) for each in (wrong, plain)] == [False, False]
    assert await owner.fetchval("SELECT count(*) FROM seals") == 0
    assert [await starts(opened, each) for each in (right, wrong)] == [True, False]


async def test_an_operator_may_go_without_the_key_but_not_with_a_wrong_one(make_settings: MakeSettings) -> None:
    plain, right, wrong = make_settings(), make_settings(master_key=new_key()), make_settings(master_key=new_key())
    assert [await starts(open_operator, each) for each in (right, plain, wrong)] == [True, True, False]


async def test_the_doctor_sees_it_and_seals_nothing(make_settings: MakeSettings, owner: OwnerPool) -> None:
    plain, right, wrong = make_settings(), make_settings(master_key=new_key()), make_settings(master_key=new_key())
    assert [await master_key_level(each) for each in (plain, right, wrong)] == [None, Level.OK, Level.OK]
    assert await owner.fetchval("SELECT count(*) FROM seals") == 0
    assert await starts(open_worker, right)
    assert [await master_key_level(each) for each in (plain, right, wrong)] == [Level.FAIL, Level.OK, Level.FAIL]


async def test_a_worker_with_a_wrong_key_ends_with_2(make_settings: MakeSettings) -> None:
    right, wrong = make_settings(master_key=new_key()), make_settings(master_key=new_key())
    assert await starts(open_worker, right)
    async with run_process(wrong) as worker:
        assert await worker.ended() == 2


async def test_a_database_that_goes_away_between_the_first_connection_and_the_check_is_waited_for(
    make_settings: MakeSettings, owner: OwnerPool
) -> None:
    sealed = make_settings(master_key=new_key())
    sealer = make_sealer(sealed.master_key)
    async with open_proxy(sealed.database) as proxy:
        settings = through(sealed, proxy).database
        async with await open_database(settings, name="api", fleet=False) as database:
            proxy.cut()
            with pytest.raises(DatabaseUnusable):
                await check_master_key(database, sealer)
            checking = asyncio.create_task(check_master_key(database, sealer, wait_seconds=20))
            # It has met the cut before PostgreSQL is back.
            await eventually(lambda: proxy.refused >= 2)
            proxy.restore()
            await checking
    assert await owner.fetchval("SELECT count(*) FROM seals") == 1
