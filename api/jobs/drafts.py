"""From a body to a job that core can take: shape, webhook URL, times. Used by the submit routes."""

from collections.abc import Iterator

from pydantic import JsonValue, ValidationError

from api.http.errors import as_app_error
from api.http.problems import join
from api.jobs.schemas.submit import SubmitJob
from core.domain.errors import AppError, InvalidParameter
from core.jobs.submit import Draft
from core.runtime import ApiRuntime
from core.webhooks.egress.url_policy import check_url


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
