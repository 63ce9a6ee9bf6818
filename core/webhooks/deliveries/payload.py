"""The exact bytes of one delivery: the stored event, with the job's result added for endpoints that include it.

A result is not stored a second time: it is spliced in when it is sent, and a job that has succeeded never changes, so
every attempt sends the same bytes, until the job is deleted and its result with it. Called by deliver.py.
"""

from typing import Final

import orjson

from core.db.sealed import Sealer
from core.webhooks.deliveries.records import ClaimedDelivery

LARGEST_BODY: Final = 64 * 1024


def body_of(sealer: Sealer, delivery: ClaimedDelivery) -> bytes:
    """Raises SealBroken."""
    if not delivery.includes_result:
        return delivery.body
    event = orjson.loads(delivery.body)
    if delivery.output is not None and delivery.job_id is not None:
        output = sealer.open(delivery.output, delivery.tenant_id, "results.output", delivery.job_id)
        whole = orjson.dumps({**event, "data": {**event["data"], "result": orjson.loads(output)}})
        if len(whole) <= LARGEST_BODY:
            return whole
    why = "job_deleted" if delivery.result_is_gone else "too_large"
    return orjson.dumps({**event, "data": {**event["data"], "result_omitted": why}})
