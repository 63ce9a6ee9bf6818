"""The checks of `inferd doctor` on PostgreSQL and Redis. They return findings and never raise."""

import asyncio
import secrets
from typing import Final

from cli.operate.checks.finding import Finding, Level
from core.access.master_key import WrongMasterKey, check_master_key
from core.db.diagnose import Diagnosis, diagnose
from core.db.engine import APP_ROLE, DatabaseUnusable, open_database
from core.db.faults import explain_fault
from core.db.sealed import make_sealer
from core.queue.connect import RedisClient, RedisFault, connect
from core.queue.keys import Keys
from core.settings import Settings

_OLDEST_POSTGRES: Final = 140_000
# Before it a script may not write after it has asked for the time.
_OLDEST_REDIS: Final = (5, 0)
_SECONDS: Final = 10.0


async def check_database(settings: Settings) -> list[Finding]:
    try:
        async with asyncio.timeout(_SECONDS):
            found = await diagnose(settings.database)
    except Exception as error:
        message = explain_fault(error)
        if message is None:
            raise
        return [Finding("PostgreSQL", Level.FAIL, message)]
    findings = [_server(found), _role(found), _schema(found)]
    if all(each.level is Level.OK for each in findings):
        findings += await _master_key(settings)
    return findings


async def _master_key(settings: Settings) -> list[Finding]:
    """Returns nothing where no key is set and none is needed: check_settings has reported that."""
    sealer = make_sealer(settings.master_key)
    try:
        async with await open_database(settings.database, name="doctor", fleet=True, patient=False) as database:
            await check_master_key(database, sealer, writes=False)
    except (WrongMasterKey, DatabaseUnusable) as error:
        return [Finding("master key", Level.FAIL, str(error))]
    return [Finding("master key", Level.OK, "matches the encrypted data")] if sealer.has_key else []


def _server(found: Diagnosis) -> Finding:
    if found.version_number < _OLDEST_POSTGRES:
        return Finding("PostgreSQL", Level.FAIL, f"{found.version} is too old: inferd needs 14 or newer.")
    return Finding("PostgreSQL", Level.OK, f"{found.version}, logged in as {found.login}")


def _role(found: Diagnosis) -> Finding:
    if not found.role_exists:
        return Finding("PostgreSQL role", Level.FAIL, f"{APP_ROLE} does not exist: run `inferd migrate`.")
    if not found.may_be_role:
        text = f"{found.login} may not become {APP_ROLE}: GRANT {APP_ROLE} TO {found.login};"
        return Finding("PostgreSQL role", Level.FAIL, text)
    if found.role_is_mighty or found.role_owns_tables:
        text = (
            f"{APP_ROLE} is a superuser, bypasses row-level security or owns the tables, so tenants are not kept "
            f"apart: ALTER ROLE {APP_ROLE} NOSUPERUSER NOBYPASSRLS; and give the tables to another owner."
        )
        return Finding("PostgreSQL role", Level.FAIL, text)
    return Finding("PostgreSQL role", Level.OK, f"{APP_ROLE}, under row-level security")


def _schema(found: Diagnosis) -> Finding:
    if found.revision == found.newest_revision:
        return Finding("migrations", Level.OK, f"at {found.revision}, the newest")
    text = f"at {found.revision or 'nothing'}, the newest is {found.newest_revision}: run `inferd migrate`."
    return Finding("migrations", Level.FAIL, text)


async def check_redis(settings: Settings) -> list[Finding]:
    redis = connect(settings.redis, connections=2)
    keys = Keys(settings.redis.prefix)
    try:
        async with asyncio.timeout(_SECONDS):
            info = await redis.info()
            return [_redis_server(info), _policy(info), await _writable(redis, keys), await _workers(redis, keys)]
    except RedisFault as error:
        # redis-py's texts name the host, never the password.
        why = f"{type(error).__name__}: {error}".rstrip(".")
        text = f"Redis at INFERD_REDIS_URL does not respond ({why}). Jobs start late until it does."
        return [Finding("Redis", Level.FAIL, text)]
    finally:
        await redis.aclose(close_connection_pool=True)


def _redis_server(info: dict[str, object]) -> Finding:
    # Valkey calls itself Redis 7.2 for old clients, and says its own name elsewhere.
    version = str(info.get("redis_version", "0"))
    name = f"Valkey {info['valkey_version']}" if "valkey_version" in info else f"Redis {version}"
    if tuple(int(part) for part in version.split(".")[:2] if part.isdigit()) < _OLDEST_REDIS:
        return Finding("Redis", Level.FAIL, f"{name} is too old: inferd needs Redis 5 or newer.")
    return Finding("Redis", Level.OK, name)


def _policy(info: dict[str, object]) -> Finding:
    policy = str(info.get("maxmemory_policy", "unknown"))
    if policy == "noeviction":
        return Finding("Redis memory", Level.OK, "maxmemory-policy noeviction")
    text = f"maxmemory-policy is {policy}, so a full Redis drops queued work: CONFIG SET maxmemory-policy noeviction"
    return Finding("Redis memory", Level.FAIL if policy != "unknown" else Level.WARN, text)


async def _writable(redis: RedisClient, keys: Keys) -> Finding:
    key = f"{keys.prefix}:doctor:{secrets.token_hex(4)}"
    try:
        await redis.set(key, "1", ex=10)
        await redis.delete(key)
    except RedisFault as error:
        return Finding("Redis writes", Level.FAIL, f"refused ({error}): is it a replica, full, or read-only?")
    return Finding("Redis writes", Level.OK, f"under {keys.prefix}:")


async def _workers(redis: RedisClient, keys: Keys) -> Finding:
    ((_, listeners),) = await redis.pubsub_numsub(keys.wake)
    if listeners:
        return Finding("workers", Level.OK, f"{listeners} listening")
    return Finding("workers", Level.WARN, "none is listening: jobs wait until one is started with `inferd worker`.")
