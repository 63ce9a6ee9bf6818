"""From a body to a job that core can take: shape, webhook URL, times, Idempotency-Key. Used by the submit routes."""

import hashlib
import re
from typing import Final

import orjson
from pydantic import JsonValue

from api.jobs.schemas.submit import SubmitJob
from core.domain.errors import InvalidParameter, InvalidRequest
from core.jobs.submit import Draft
from core.runtime import ApiRuntime
from core.webhooks.egress.url_policy import check_url

_KEY: Final = re.compile(r"[\x21-\x7e]{1,255}", re.ASCII)


def read_draft(runtime: ApiRuntime, body: JsonValue) -> Draft:
    """Raises ValidationError or InvalidParameter, which name the field."""
    submitted = SubmitJob.model_validate(body)
    if submitted.webhook is not None:
        check_url(submitted.webhook.url, runtime.settings.webhook, "webhook.url")
    try:
        return submitted.draft(runtime.clock.now())
    except ValueError as error:
        raise InvalidParameter(f"{error}.", param="run_at") from None


def check_key(key: str | None) -> str | None:
    """The Idempotency-Key as it came. Raises InvalidRequest for one that can't be kept."""
    if key is not None and not _KEY.fullmatch(key):
        raise InvalidRequest("Idempotency-Key: must be 1 to 255 printable ASCII characters.", param="Idempotency-Key")
    return key


def fingerprint(body: JsonValue) -> bytes:
    """The same for bodies that say the same, in whatever order of fields."""
    return hashlib.sha256(orjson.dumps(body, option=orjson.OPT_SORT_KEYS)).digest()
