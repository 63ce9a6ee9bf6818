"""The tree of errors, against the documented statuses and OpenAI's error types."""

from inspect import isclass

import pytest

from core.domain import errors
from core.domain.errors import CODES, JOB_NEXT_STEPS, STATUSES, AppError

# class → status, type, default code, whether a repeat of the same request can help
TREE: dict[type[AppError], tuple[int, str, str, bool]] = {
    errors.AppError: (500, "server_error", "internal_error", False),
    errors.InvalidRequest: (400, "invalid_request_error", "invalid_request", False),
    errors.InvalidParameter: (422, "invalid_request_error", "invalid_parameter", False),
    errors.Unauthenticated: (401, "authentication_error", "invalid_api_key", False),
    errors.NotFound: (404, "not_found_error", "not_found", False),
    errors.MethodNotAllowed: (405, "invalid_request_error", "method_not_allowed", False),
    errors.RequestTimeout: (408, "invalid_request_error", "request_timeout", True),
    errors.Conflict: (409, "invalid_request_error", "conflict", False),
    errors.Gone: (410, "not_found_error", "gone", False),
    errors.PayloadTooLarge: (413, "invalid_request_error", "payload_too_large", False),
    errors.FailedDependency: (424, "invalid_request_error", "webhook_unanswered", False),
    errors.TooManyRequests: (429, "rate_limit_error", "queue_full", True),
    errors.Internal: (500, "server_error", "internal_error", False),
    errors.JobUnreadable: (500, "server_error", "job_unreadable", False),
    errors.Unavailable: (503, "server_error", "unavailable", True),
}


def test_the_table_has_every_error() -> None:
    assert {each for each in vars(errors).values() if isclass(each) and issubclass(each, AppError)} == set(TREE)


@pytest.mark.parametrize(("kind", "row"), TREE.items(), ids=lambda each: getattr(each, "__name__", ""))
def test_an_error_is_what_the_table_says(kind: type[AppError], row: tuple[int, str, str, bool]) -> None:
    error = kind("What went wrong, and what to do.")

    assert (error.status, error.kind, error.code, error.retryable) == row
    assert error.message == str(error) == "What went wrong, and what to do."
    assert (error.param, error.retry_after) == (None, None)
    assert error.code in CODES


def test_an_error_says_what_it_is_about() -> None:
    error = errors.InvalidParameter("message", code="model_not_found", param="model", retry_after=2.0)

    assert (error.code, error.param, error.retry_after) == ("model_not_found", "model", 2.0)
    assert isinstance(error, errors.InvalidRequest)


def test_every_code_has_the_status_that_it_is_raised_with() -> None:
    assert set(STATUSES) == set(CODES)
    assert {kind.default_code: kind.status for kind in TREE}.items() <= STATUSES.items()


def test_every_code_is_explained() -> None:
    for explained in (CODES, JOB_NEXT_STEPS):
        assert all(code == code.lower() and text.endswith(".") for code, text in explained.items())


def test_a_failure_of_our_own_making_says_what_to_do_next() -> None:
    from core.domain import transitions

    ours = [transitions.cancel(), transitions.expire(), transitions.rescue(1, call_went_out=True, attempts_left=False)]

    assert {made.failure.code for made in ours if made.failure} <= set(JOB_NEXT_STEPS)
