"""The one way in: every handler below `/v1` begins with `call = await admit(request)`.

Who calls is settled here, and whether they may: the API key, how many requests they have open, and that the request
carries no query parameter and no Idempotency-Key that its operation would ignore. Limits and quotas belong here too.
"""

from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import TypeVar, cast

from fastapi import Request
from pydantic import BaseModel, JsonValue

from api.http.ids import job_id_of
from api.http.open_requests import OpenRequests
from api.http.operations import IDEMPOTENCY_KEY, Endpoint, Operation
from api.http.query_string import check_names, read_query
from api.http.strict_json import MOST_VALUES, parse_lines, parse_object, read_body
from core.access.authenticate import Caller
from core.domain.errors import InvalidRequest, Unauthenticated
from core.domain.ids import JobId, TenantId
from core.runtime import ApiRuntime

Query = TypeVar("Query", bound=BaseModel)


@dataclass(frozen=True, slots=True)
class Call:
    """A request that was admitted: who sends it, and readers of what it carries."""

    request: Request
    runtime: ApiRuntime
    caller: Caller
    open_requests: OpenRequests

    @property
    def tenant_id(self) -> TenantId:
        return self.caller.tenant_id

    @property
    def request_id(self) -> str:
        return cast(str, self.request.scope["state"]["request_id"])

    @property
    def base_url(self) -> str:
        """What the links in a response start with; without a public URL they are relative."""
        return (self.runtime.settings.api.public_url or "").rstrip("/")

    @property
    def job_id(self) -> JobId:
        """The id in the path. Raises NotFound for what can't be one."""
        return job_id_of(self.request.path_params["job_id"])

    def header(self, name: str) -> str | None:
        return self.request.headers.get(name)

    @property
    def has_query(self) -> bool:
        return bool(self.request.scope["query_string"])

    def query(self, model: type[Query]) -> Query:
        """The query string. Raises InvalidParameter."""
        return read_query(self.request.query_params.multi_items(), model)

    async def body(self) -> dict[str, JsonValue]:
        """The body, a JSON object. Raises InvalidRequest, PayloadTooLarge."""
        return parse_object(await read_body(self.request, self.runtime.settings.api.max_body_bytes))

    async def lines(self, name: str) -> dict[str, JsonValue]:
        """As `body`, for a larger one whose member `name` is a long list."""
        body = await read_body(self.request, self.runtime.settings.api.max_bulk_bytes)
        return await parse_lines(body, name, most_values=MOST_VALUES * 10, most_per_line=MOST_VALUES)

    def waiting(self) -> AbstractContextManager[None]:
        """While the request only waits. Raises TooManyRequests."""
        return self.open_requests.waiting(self.tenant_id)

    async def check_key(self) -> None:
        """After a wait. Raises Unauthenticated when the key was revoked meanwhile."""
        if not await self.runtime.authenticator.still_good(self.caller):
            raise Unauthenticated("This API key was revoked or has expired.")


async def admit(request: Request) -> Call:
    """Raises Unauthenticated, TooManyRequests, InvalidRequest or InvalidParameter. The body is not read yet."""
    scope = request.scope
    runtime: ApiRuntime = scope["state"]["runtime"]
    open_requests: OpenRequests = scope["state"]["open_requests"]
    caller = await runtime.authenticator.authenticate(request.headers.get("authorization"))
    open_requests.enter(scope["state"], caller.tenant_id)
    _check_carried(request, cast(Endpoint, scope["route"]).operation)
    return Call(request, runtime, caller, open_requests)


def _check_carried(request: Request, operation: Operation) -> None:
    if len(request.headers.getlist(IDEMPOTENCY_KEY)) > 1:
        raise InvalidRequest(f"{IDEMPOTENCY_KEY}: is given twice; send it once.", param=IDEMPOTENCY_KEY)
    if request.scope["query_string"]:
        check_names(request.query_params.keys(), operation.query)
    if not operation.takes_idempotency_key and IDEMPOTENCY_KEY in request.headers:
        raise InvalidRequest(
            f"{IDEMPOTENCY_KEY}: this operation does not take one; leave the header out. It is for requests that "
            "create something.",
            code="idempotency_key_not_supported",
            param=IDEMPOTENCY_KEY,
        )
