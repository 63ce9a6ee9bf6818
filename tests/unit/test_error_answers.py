"""What a caller is told about any error: an outage is 503, bad input 4xx, a bug 500; none explains our insides."""

import json
from typing import Any

import asyncpg
import pytest
from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel, ConfigDict, ValidationError
from sqlalchemy import exc as sqlalchemy
from starlette.exceptions import HTTPException

from api.http.errors import as_app_error, render
from core.db.grouping import GrouperClosed, Overloaded
from core.domain import errors
from core.observability.sentry import is_operational


def of_driver(kind: type[Exception]) -> Exception:
    return kind("inferd_app@10.0.0.7: secret detail")


def of_sqlalchemy(kind: type[sqlalchemy.DBAPIError]) -> Exception:
    return kind("SELECT secret", {"prompt": "secret"}, Exception("secret detail"))


OUTAGES: list[Exception] = [
    of_driver(asyncpg.ConnectionDoesNotExistError),
    of_driver(asyncpg.AdminShutdownError),
    of_driver(asyncpg.CannotConnectNowError),
    of_driver(asyncpg.QueryCanceledError),
    of_driver(asyncpg.TooManyConnectionsError),
    of_driver(asyncpg.DiskFullError),
    of_driver(asyncpg.InterfaceError),
    of_driver(asyncpg.DeadlockDetectedError),
    of_driver(asyncpg.ReadOnlySQLTransactionError),
    of_sqlalchemy(sqlalchemy.OperationalError),
    of_sqlalchemy(sqlalchemy.InterfaceError),
    of_sqlalchemy(sqlalchemy.DBAPIError),
    sqlalchemy.TimeoutError("secret detail"),
    ConnectionRefusedError("secret detail"),
    TimeoutError("secret detail"),
    GrouperClosed("secret detail"),
]


@pytest.mark.parametrize("error", OUTAGES, ids=lambda error: f"{type(error).__module__}.{type(error).__name__}")
def test_a_store_that_is_away_is_503_and_worth_a_repeat(error: Exception) -> None:
    told = as_app_error(error)

    assert (told.status, told.code, told.retryable, told.retry_after) == (503, "unavailable", True, 1.0)
    assert "secret" not in told.message


BUGS: list[Exception] = [
    of_driver(asyncpg.UndefinedColumnError),
    of_driver(asyncpg.UniqueViolationError),
    of_driver(asyncpg.InsufficientPrivilegeError),
    of_sqlalchemy(sqlalchemy.ProgrammingError),
    of_sqlalchemy(sqlalchemy.IntegrityError),
    sqlalchemy.DBAPIError("SELECT secret", {}, asyncpg.DataError("secret detail")),
    KeyError("secret detail"),
    AssertionError("secret detail"),
    RuntimeError("secret detail"),
]


@pytest.mark.parametrize("error", BUGS, ids=lambda error: f"{type(error).__module__}.{type(error).__name__}")
def test_a_bug_is_500_and_says_only_how_to_report_it(error: Exception) -> None:
    told = as_app_error(error)

    assert isinstance(told, errors.Internal)
    assert (told.status, told.code, told.retryable) == (500, "internal_error", False)
    assert "secret" not in told.message
    assert "x-request-id" in told.message
    assert not is_operational(error)


def test_too_much_at_once_is_429() -> None:
    told = as_app_error(Overloaded("insert"))

    assert (told.status, told.code, told.retry_after) == (429, "queue_full", 1.0)


def test_our_own_errors_are_told_as_they_are() -> None:
    error = errors.Gone("job_1 was deleted.")

    assert as_app_error(error) is error


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (404, errors.NotFound),
        (405, errors.MethodNotAllowed),
        (413, errors.PayloadTooLarge),
        (400, errors.InvalidRequest),
    ],
)
def test_the_frameworks_errors_have_our_shape(status: int, kind: type[errors.AppError]) -> None:
    told = as_app_error(HTTPException(status, "because"))

    assert type(told) is kind
    assert told.status == status


class Body(BaseModel):
    model_config = ConfigDict(extra="forbid")

    number: int
    inner: dict[str, int] = {}


def invalid(**body: Any) -> errors.AppError:
    with pytest.raises(ValidationError) as refused:
        Body.model_validate(body)
    return as_app_error(refused.value)


def test_an_invalid_body_is_422_and_names_the_field_without_its_value() -> None:
    told = invalid(number="hunter2")

    assert (told.status, told.code, told.param) == (422, "invalid_parameter", "number")
    assert told.message == "number: must be a whole number."
    assert "hunter2" not in told.message


def test_an_unknown_field_a_nested_one_and_several_are_told() -> None:
    assert invalid(number=1, nmber=2).message == "nmber: there is no such field."
    assert invalid(number=1, inner={"a": "x"}).param == "inner.a"
    assert invalid(number="x", other=1).message == "other: there is no such field; number: must be a whole number."


def test_where_a_parameter_stood_is_not_part_of_its_name() -> None:
    problem = {"type": "missing", "loc": ("query", "limit"), "msg": "Field required"}

    assert as_app_error(RequestValidationError([problem])).param == "limit"
    assert as_app_error(RequestValidationError([])).status == 422


@pytest.mark.parametrize(
    "error",
    [
        errors.InvalidParameter("m.", param="model"),
        errors.Unauthenticated("m."),
        errors.NotFound("m."),
        errors.TooManyRequests("m.", retry_after=0.2),
        errors.Unavailable("m.", retry_after=2.6),
        errors.Internal("m."),
    ],
    ids=lambda error: type(error).__name__,
)
def test_every_error_is_rendered_in_openais_shape(error: errors.AppError) -> None:
    answer = render(error)

    assert answer.status_code == error.status
    assert json.loads(bytes(answer.body)) == {
        "error": {"message": "m.", "type": error.kind, "param": error.param, "code": error.code}
    }
    assert ("x-should-retry" in answer.headers) is not error.retryable
    assert ("www-authenticate" in answer.headers) is (error.status == 401)
    expected = None if error.retry_after is None else str(max(1, round(error.retry_after)))
    assert answer.headers.get("retry-after") == expected
