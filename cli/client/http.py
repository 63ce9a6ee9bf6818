"""The API as the command line sees it: a few calls over HTTP, typed results, and one kind of error.

Used by `inferd run`, `jobs`, `webhooks` and `demo`. Fields that a newer API adds are ignored; `Job.document` has all
of them.
"""

from collections.abc import Mapping
from http import HTTPStatus
from types import TracebackType
from typing import Any, Final, Self

import httpx2
from pydantic import BaseModel, ConfigDict, Field, JsonValue, ValidationError

from cli.exit_codes import CommandFailed, ExitCode

_CONNECT_SECONDS = 5.0
ANSWER_SECONDS = 30.0
_EXIT_CODES: Mapping[int, ExitCode] = {
    HTTPStatus.UNAUTHORIZED: ExitCode.AUTH,
    HTTPStatus.FORBIDDEN: ExitCode.AUTH,
    HTTPStatus.NOT_FOUND: ExitCode.NOT_FOUND,
    HTTPStatus.GONE: ExitCode.NOT_FOUND,
    HTTPStatus.TOO_MANY_REQUESTS: ExitCode.UNREACHABLE,
}
_WHICH_KEY: Final = (
    " The command line sends --api-key, else INFERD_API_KEY, else the key of the `inferd serve` on INFERD_DATA_DIR."
)
TERMINAL = frozenset({"succeeded", "failed", "cancelled", "expired"})


class _Answer(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore")


class AttemptError(_Answer):
    code: str
    message: str
    kind: str = Field(alias="class")


class Attempt(_Answer):
    run: int
    attempt: int
    outcome: str
    error: AttemptError | None
    http_status: int | None
    wait_seconds: float | None


class Output(_Answer):
    text: str
    finish_reason: str


class Usage(_Answer):
    input_tokens: int | None
    output_tokens: int | None


class JobError(_Answer):
    code: str
    message: str
    next_step: str


class Job(_Answer):
    id: str
    status: str
    model: str
    attempts_used: int
    queue_ms: int | None
    run_ms: int | None
    attempts: tuple[Attempt, ...]
    output: Output | None
    usage: Usage | None
    error: JobError | None
    document: dict[str, JsonValue]
    """The whole response, as received."""

    @property
    def ended(self) -> bool:
        return self.status in TERMINAL


class ApiFailed(CommandFailed):
    """The API refused the request or could not be reached.

    `code` is that of the API's error, if it returned one. `passing`: the same call may succeed in a moment.
    """

    def __init__(self, message: str, exit_code: ExitCode, *, code: str | None = None, passing: bool = False) -> None:
        super().__init__(message, exit_code)
        self.code = code
        self.passing = passing


class _Document(dict[str, Any]):
    """An object of a response."""

    def __missing__(self, name: str) -> Any:
        raise ApiFailed(f"The API's response has no `{name}`: is it another version of inferd?", ExitCode.UNREACHABLE)


class ApiClient:
    """`async with ApiClient(url, key) as api`. Every call raises ApiFailed."""

    def __init__(self, url: str, key: str | None) -> None:
        parts = parse_url(url)
        # Other clients want the `/v1` in their base URL.
        self.url = url.rstrip("/").removesuffix("/v1")
        self._http = httpx2.AsyncClient(
            headers={"authorization": f"Bearer {key}"} if key else {},
            timeout=ANSWER_SECONDS,
            # A proxy of the environment can't reach this machine's own address.
            trust_env=parts.host not in {"127.0.0.1", "::1", "localhost"},
        )

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._http.aclose()

    async def submit(self, body: Mapping[str, JsonValue], idempotency_key: str | None = None) -> Job:
        headers = {} if idempotency_key is None else {"idempotency-key": idempotency_key}
        return _job(await self.ask("POST", "/v1/jobs", body, headers=headers))

    async def get(self, job_id: str, wait: float = 0.0) -> Job:
        """Returns the job as soon as it has ended, or as it is after `wait` seconds."""
        return _job(await self.ask("GET", f"/v1/jobs/{job_id}?wait={wait:.3f}"))

    async def change(self, job_id: str, action: str) -> Job:
        """Returns the job after `cancel` or `retry`."""
        return _job(await self.ask("POST", f"/v1/jobs/{job_id}/{action}"))

    async def webhook_secret(self) -> str:
        return str((await self.ask("GET", "/v1/webhook_secret")).get("secret"))

    async def is_ready(self) -> bool:
        try:
            return (await self._http.get(f"{self.url}/readyz")).status_code == HTTPStatus.OK
        except httpx2.HTTPError:
            return False

    async def ask(
        self,
        method: str,
        path: str,
        body: Mapping[str, Any] | None = None,
        *,
        headers: Mapping[str, str] | None = None,
        seconds: float = ANSWER_SECONDS,
    ) -> dict[str, Any]:
        """Returns the JSON object of the response, in which a missing member raises ApiFailed.

        `path` may have a query. `seconds` is how long the API may take.
        """
        timeout = httpx2.Timeout(seconds, connect=_CONNECT_SECONDS)
        try:
            response = await self._http.request(
                method, f"{self.url}{path}", json=body, headers=headers, timeout=timeout
            )
        except httpx2.HTTPError as error:
            raise ApiFailed(
                f"No API responds at {self.url} ({type(error).__name__}). Start one with `inferd serve`, or "
                "name it with --api-url or INFERD_API_URL.",
                ExitCode.UNREACHABLE,
                passing=True,
            ) from None
        return _read(response)


def parse_url(url: str, name: str = "The API's URL", example: str = "http://127.0.0.1:8700") -> httpx2.URL:
    """Raises CommandFailed for what is not an http:// or https:// URL."""
    try:
        parts = httpx2.URL(url)
    except (httpx2.InvalidURL, ValueError):
        parts = httpx2.URL("")
    if parts.scheme not in {"http", "https"} or not parts.host:
        raise CommandFailed(f"{name} can't be {url!r}; write it like {example}.", ExitCode.USAGE)
    return parts


def _read(response: httpx2.Response) -> dict[str, JsonValue]:
    try:
        body = response.json(object_hook=_Document)
    except ValueError:
        body = None
    if response.is_success and isinstance(body, dict):
        return body
    error = body.get("error") if isinstance(body, dict) else None
    message, code = (error.get("message"), error.get("code")) if isinstance(error, dict) else (None, None)
    if not isinstance(message, str):
        raise _not_inferd(response)
    status = response.status_code
    server_side = status >= HTTPStatus.INTERNAL_SERVER_ERROR
    exit_code = _EXIT_CODES.get(status, ExitCode.UNREACHABLE if server_side else ExitCode.USAGE)
    request_id = f" (request {response.headers['x-request-id']})" if "x-request-id" in response.headers else ""
    more = request_id if server_side else _WHICH_KEY if exit_code is ExitCode.AUTH else ""
    raise ApiFailed(message + more, exit_code, code=code, passing=exit_code is ExitCode.UNREACHABLE)


def _job(body: dict[str, JsonValue]) -> Job:
    try:
        return Job.model_validate({**body, "document": body})
    except ValidationError as error:
        raise ApiFailed(
            f"The API's response is not a job ({error.errors()[0]['msg']}): is it another version of inferd?",
            ExitCode.UNREACHABLE,
        ) from None


def _not_inferd(response: httpx2.Response) -> ApiFailed:
    kind = response.headers.get("content-type", "no content type")
    return ApiFailed(
        f"{response.url} returned HTTP {response.status_code} with {kind}, which is not a response of inferd's API. "
        "Is the URL right, or is a proxy in between?",
        ExitCode.UNREACHABLE,
        passing=response.status_code >= HTTPStatus.INTERNAL_SERVER_ERROR,
    )
