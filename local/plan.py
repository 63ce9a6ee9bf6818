"""What `inferd serve` and `inferd demo` run, and the environment of those processes.

The user's settings win. The defaults suit one machine: webhooks may call the loopback, and a worker that is stopped
returns its running jobs at once.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from core.settings import Settings
from local.embedded.supervisor import EmbeddedServers

_DRAIN_SECONDS = 0.5
_ENOUGH_AFTER_DRAIN_SECONDS = 1.5


@dataclass(frozen=True)
class Plan:
    """`settings` are the user's, on no stores; `environment` is what the API and the workers start from."""

    settings: Settings
    environment: Mapping[str, str]
    working_folder: Path
    host: str
    port: int
    workers: int = 1
    with_model: bool = True


def child_environment(plan: Plan, servers: EmbeddedServers, settings: Settings) -> dict[str, str]:
    """Returns the user's variables, with the stores and the address of this command in place of theirs."""
    given = plan.settings
    ours = {
        "INFERD_DATABASE_URL": settings.database.url.get_secret_value(),
        "INFERD_DATABASE_OWNER_URL": "",
        "INFERD_REDIS_URL": settings.redis.url.get_secret_value(),
        "INFERD_API_HOST": plan.host,
        "INFERD_API_PORT": str(plan.port),
    }
    if servers.local_base_url is not None and servers.local_api_key is not None:
        ours |= {"INFERD_LOCAL_BASE_URL": servers.local_base_url, "INFERD_LOCAL_API_KEY": servers.local_api_key}
    if settings.master_key is not None:
        ours["INFERD_MASTER_KEY"] = settings.master_key.get_secret_value()
    defaults = (
        (given.worker, "drain_seconds", "INFERD_WORKER_DRAIN_SECONDS", str(_DRAIN_SECONDS)),
        (given.api, "shutdown_seconds", "INFERD_API_SHUTDOWN_SECONDS", "1"),
        (given.webhook, "allow_http", "INFERD_WEBHOOK_ALLOW_HTTP", "true"),
        (given.webhook, "allow_cidrs", "INFERD_WEBHOOK_ALLOW_CIDRS", '["127.0.0.0/8"]'),
    )
    # A variable of the environment would hide what a .env file says, so one that is set anywhere is left alone.
    ours |= {name: value for group, member, name, value in defaults if member not in group.model_fields_set}
    kept = {name: value for name, value in plan.environment.items() if name.upper() not in ours}
    return kept | ours


def grace_seconds(settings: Settings) -> float:
    """How long the API and the workers may take to stop: what the user asked for, or what fits into three seconds."""
    asked = settings.worker.drain_seconds if "drain_seconds" in settings.worker.model_fields_set else _DRAIN_SECONDS
    return asked + _ENOUGH_AFTER_DRAIN_SECONDS
