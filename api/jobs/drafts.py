"""From a body to a job that core can take: shape, webhook URL, times, Idempotency-Key. Used by the submit routes."""

import hashlib
import re
from collections.abc import Iterator
from typing import Final

import orjson
from pydantic import JsonValue, ValidationError

from api.http.errors import as_app_error
from api.http.problems import join
from api.jobs.schemas.submit import SubmitJob
from core.domain.errors import AppError, InvalidParameter, InvalidRequest
from core.jobs.submit import Draft
from core.runtime import ApiRuntime
from core.webhooks.egress.url_policy import check_url

_KEY: Final = re.compile(r"[\x21-\x7e]{1,255}", re.ASCII)


def read_draft(runtime: ApiRuntime, body: dict[str, JsonValue]) -> Draft:
    """Raises AppError, which names every problem of the body. That the model exists is checked by core."""
    try:
        submitted = SubmitJob.model_validate(body)
    except ValidationError as error:
        raise join([as_app_error(error), *_model_problems(runtime, body)]) from None
    problems = list(submitted.problems(runtime.clock.now()))
    if submitted.webhook is not None:
        try:
            check_url(submitted.webhook.url, runtime.settings.webhook, "webhook.url")
        except InvalidParameter as error:
            problems.append(error)
    if problems:
        raise join([*problems, *_model_problems(runtime, body)])
    return submitted.draft()


def _model_problems(runtime: ApiRuntime, body: dict[str, JsonValue]) -> Iterator[AppError]:
    """What core would refuse next, once the rest is right."""
    model, params = body.get("model"), body.get("params", {})
    if isinstance(model, str) and isinstance(params, dict):
        try:
            runtime.jobs.catalogue.validate(model, params)
        except AppError as error:
            yield error


def check_key(key: str | None) -> str | None:
    """The Idempotency-Key as it came. Raises InvalidRequest for one that can't be kept."""
    if key is not None and not _KEY.fullmatch(key):
        raise InvalidRequest("Idempotency-Key: must be 1 to 255 printable ASCII characters.", param="Idempotency-Key")
    return key


def fingerprint(body: JsonValue) -> bytes:
    """The same for bodies that say the same, in whatever order of fields."""
    return hashlib.sha256(orjson.dumps(body, option=orjson.OPT_SORT_KEYS)).digest()
