"""Stop 8 of 9 · from core/jobs/finish.py · to core/webhooks/deliveries/deliver.py

The arq task that an enqueued delivery starts.
"""

from typing import cast

from core.domain.ids import DELIVERY, DeliveryId, parse
from core.domain.run_again import RunAgain
from core.runtime import WorkerRuntime
from core.webhooks.deliveries import deliver


async def deliver_webhook(ctx: dict[str, object], member: str) -> RunAgain:
    """Sends the delivery named by `member` (`dlv_…`) once."""
    runtime = cast(WorkerRuntime, ctx["runtime"])
    return await deliver.deliver_webhook(runtime.deliveries, DeliveryId(parse(DELIVERY, member)))
