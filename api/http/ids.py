"""Reads the ids in paths: what can't be an id names nothing, so it is 404. Used by the handlers."""

from typing import Final
from uuid import UUID

from core.domain.errors import NotFound
from core.domain.ids import DELIVERY, ENDPOINT, JOB, RECOVERY, InvalidId, JobId, parse

# What each id in a path names, by its prefix.
NAMES: Final = {
    JOB: "job",
    ENDPOINT: "webhook endpoint",
    DELIVERY: "webhook delivery",
    RECOVERY: "webhook recovery",
}
PATH_PARAMETERS: Final = {"job_id": JOB, "endpoint_id": ENDPOINT, "delivery_id": DELIVERY, "recovery_id": RECOVERY}


def id_of(prefix: str, text: str) -> UUID:
    """Raises NotFound."""
    try:
        return parse(prefix, text)
    except InvalidId:
        raise NotFound(
            f"There is no {NAMES[prefix]} {text[:64]!r}; its id is {prefix}_ and 32 lower-case hexadecimal digits."
        ) from None


def job_id_of(text: str) -> JobId:
    """Raises NotFound."""
    return JobId(id_of(JOB, text))
