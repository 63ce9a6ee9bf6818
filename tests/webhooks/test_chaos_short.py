"""A short run of the webhooks' chaos with a fixed seed; `make chaos-webhooks` is the long one."""

from pathlib import Path

import pytest

from tests.conftest import MakeSettings
from tests.webhooks.chaos.crowd import open_crowd
from tests.webhooks.chaos.deployment import WEBHOOK, WORKER, open_deployment
from tests.webhooks.chaos.proofs import FAULTS, Attack, prove_nothing_is_lost

SEED = 20261121


@pytest.mark.timeout(120)
async def test_a_hundred_events_under_faults(make_settings: MakeSettings, tmp_path: Path) -> None:
    webhook = WEBHOOK | {"timeout_seconds": 0.5, "retry_seconds": [0.1] * 19}
    worker = WORKER | {"lease_seconds": 1.5, "heartbeat_seconds": 0.4, "sweep_seconds": 0.3}
    settings = make_settings(worker=worker, webhook=webhook)
    async with (
        open_deployment(settings, tmp_path, workers=1, forked=True) as deployment,
        open_crowd(SEED, FAULTS) as crowd,
    ):
        attack = Attack(deployment, SEED, 1.5, (0.5, 0.9))
        verdict = await prove_nothing_is_lost(
            deployment, crowd, events=100, hosts=["127.0.4.1", "127.0.4.2"], seed=SEED, attack=attack
        )
    assert verdict.met, verdict
    assert attack.done
    assert crowd.answers
