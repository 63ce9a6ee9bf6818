"""`client.webhooks` of the openai SDK, unmodified: register, list, change, test, rotate, delete, unwrap."""

from typing import Any, cast

import openai
import pytest
from aiohttp import web
from standardwebhooks import Webhook

from tests.conftest import OwnerPool
from tests.support.processes import RunningApi, RunningWorker
from tests.support.receiver import receive
from tests.support.tenants import Tenant
from tests.support.waiting import eventually

URL = "https://example.com/hook"


async def _create(sdk: openai.AsyncOpenAI, url: str = URL, **fields: Any) -> Any:
    event_types = cast(Any, fields.pop("event_types", ["job.succeeded"]))
    return await sdk.webhooks.create(name="mine", url=url, event_types=event_types, **fields)


async def test_an_endpoint_is_made_read_changed_and_deleted(sdk: openai.AsyncOpenAI) -> None:
    made = await _create(sdk)
    assert made.object == "webhook_endpoint"
    assert made.signing_secret.startswith("whsec_")
    assert made.signing_secret_hint == f"whsec_…{made.signing_secret[-4:]}"

    read = await sdk.webhooks.retrieve(made.id)
    assert (read.id, read.name, read.url, read.event_types) == (made.id, "mine", URL, ["job.succeeded"])
    assert "signing_secret" not in read.to_dict()
    assert read.updated_at == read.created_at

    changed = await sdk.webhooks.update(made.id, name="other", event_types=cast(Any, ["job.failed"]))
    assert (changed.name, changed.url, changed.event_types) == ("other", URL, ["job.failed"])
    unchanged = await sdk.webhooks.update(made.id, name="other")
    assert unchanged.updated_at == changed.updated_at

    deleted = await sdk.webhooks.delete(made.id)
    assert (deleted.id, deleted.deleted, deleted.object) == (made.id, True, "webhook_endpoint.deleted")
    with pytest.raises(openai.NotFoundError, match="There is no webhook endpoint"):
        await sdk.webhooks.retrieve(made.id)


async def test_an_update_is_made_as_a_whole_or_not_at_all(sdk: openai.AsyncOpenAI, owner: OwnerPool) -> None:
    made = await _create(sdk)
    await owner.execute(
        f"""
        CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RAISE check_violation; END';
        CREATE TRIGGER refuse BEFORE UPDATE ON webhook_endpoints FOR EACH ROW
            WHEN (NEW.id = '{made.id.removeprefix("we_")}' AND NOT NEW.enabled) EXECUTE FUNCTION refuse()
        """
    )
    try:
        with pytest.raises(openai.InternalServerError):
            await sdk.with_options(max_retries=0).webhooks.update(
                made.id, name="other", url="https://example.com/other", extra_body={"enabled": False}
            )
    finally:
        await owner.execute("DROP FUNCTION refuse CASCADE")
    read = await sdk.webhooks.retrieve(made.id)
    assert (read.name, read.url, read.updated_at) == ("mine", URL, made.updated_at)


async def test_the_list_is_paged_newest_first(sdk: openai.AsyncOpenAI) -> None:
    made = [(await _create(sdk)).id for _ in range(5)]
    page = await sdk.webhooks.list(limit=2)
    assert [each.id for each in page.data] == [made[4], made[3]]
    assert [each.id async for each in sdk.webhooks.list(limit=2)] == made[::-1]
    assert [each.id async for each in sdk.webhooks.list(after=made[1])] == made[:1]


async def test_the_event_types_are_listed_and_others_refused(sdk: openai.AsyncOpenAI) -> None:
    types = (await sdk.webhooks.event_types.list()).data
    assert {"job.succeeded", "job.failed", "job.cancelled", "job.expired", "webhook.ping", "webhook.disabled"} <= set(
        types
    )
    made = await _create(sdk, event_types=types)
    assert made.event_types == types
    for wrong in (["job.nonsense"], []):
        with pytest.raises(openai.UnprocessableEntityError):
            await _create(sdk, event_types=wrong)


async def test_a_url_that_can_not_be_called_is_refused(sdk: openai.AsyncOpenAI) -> None:
    for url in ("ftp://example.com/", "https://169.254.169.254/latest", "https://user@example.com/"):
        with pytest.raises(openai.UnprocessableEntityError) as refused:
            await _create(sdk, url)
        assert refused.value.code == "invalid_webhook_url"
    made = await _create(sdk)
    with pytest.raises(openai.UnprocessableEntityError):
        await sdk.webhooks.update(made.id, url="https://10.0.0.1/")


@pytest.mark.parametrize(
    "event_type",
    ["webhook.ping", "job.succeeded", "job.failed", "response.completed", "batch.completed", "webhook.disabled"],
)
async def test_a_test_says_what_the_receiver_answered(
    sdk: openai.AsyncOpenAI, worker: RunningWorker, event_type: str
) -> None:
    async with receive("") as receiver:
        made = await _create(sdk, receiver.url)
        receiver.secret = made.signing_secret
        result = await sdk.webhooks.test(made.id, event_type=cast(Any, event_type))
        assert (result.status_code, result.success, result.event_type) == (204, True, event_type)
        receiver.answer = lambda _: web.Response(status=500)
        refused = await sdk.webhooks.test(made.id, event_type=cast(Any, event_type))
        assert (refused.status_code, refused.success) == (500, False)
    assert receiver.unverified == 0
    assert [each.event["type"] for each in receiver.received] == [event_type] * 2
    assert receiver.received[0].event["data"]["test"] is True


async def test_a_test_of_a_receiver_that_is_not_there_is_an_error(
    sdk: openai.AsyncOpenAI, worker: RunningWorker
) -> None:
    made = await _create(sdk, "http://127.0.0.1:9/")
    with pytest.raises(openai.APIStatusError) as failed:
        await sdk.webhooks.test(made.id, event_type=cast(Any, "webhook.ping"))
    assert (failed.value.status_code, failed.value.code) == (424, "webhook_unanswered")


async def test_unwrap_verifies_what_arrives(
    sdk: openai.AsyncOpenAI, worker: RunningWorker, running: RunningApi, tenant: Tenant
) -> None:
    async with receive("") as receiver, running.client(tenant) as api:
        made = await _create(sdk, receiver.url)
        receiver.secret = made.signing_secret
        job = (await api.post("/v1/jobs", json={"model": "echo/echo", "input": "hi"})).json()
        received = await eventually(lambda: receiver.received[0] if receiver.received else None)
        event: Any = sdk.webhooks.unwrap(received.body, received.headers, secret=made.signing_secret)
        assert (event.type, event.data.id, event.object) == ("job.succeeded", job["id"], "event")
        with pytest.raises(openai.InvalidWebhookSignatureError):
            sdk.webhooks.unwrap(received.body + b" ", received.headers, secret=made.signing_secret)


async def test_an_end_is_told_by_openais_names_to_who_asks_for_those(
    sdk: openai.AsyncOpenAI, worker: RunningWorker
) -> None:
    names = ["response.completed", "response.failed", "response.cancelled", "response.incomplete"]
    async with receive("") as openais, receive("") as also, receive("") as ours:
        for receiver, event_types, more in (
            (openais, names, {}),
            (also, ["response.completed", "job.succeeded"], {"extra_body": {"include_result": True}}),
            (ours, ["job.succeeded", "job.failed", "job.cancelled"], {}),
        ):
            made = await _create(sdk, receiver.url, event_types=event_types, **cast(Any, more))
            receiver.secret = made.signing_secret
        jobs = {}
        for model in ("echo/echo", "echo/fail", "echo/timeout"):
            jobs[model] = await sdk.post("/jobs", body={"model": model, "input": "hi"}, cast_to=dict[str, Any])
        await sdk.post(f"/jobs/{jobs['echo/timeout']['id']}/cancel", cast_to=dict[str, Any])
        await eventually(lambda: len(openais.received) == len(ours.received) == 3 and len(also.received) == 2)
    unwrapped = {}
    for received in openais.received:
        event = sdk.webhooks.unwrap(received.body, received.headers, secret=openais.secret)
        assert event.id == received.id
        unwrapped[event.type] = cast(Any, event).data.id
    assert unwrapped == {
        "response.completed": jobs["echo/echo"]["id"],
        "response.failed": jobs["echo/fail"]["id"],
        "response.cancelled": jobs["echo/timeout"]["id"],
    }
    assert {each.event["type"] for each in ours.received} == {"job.succeeded", "job.failed", "job.cancelled"}
    # Two events of one end: the same to say, each under an id of its own, whoever receives it.
    first, second = (each.event for each in also.received)
    assert first["data"] == second["data"]
    assert first["data"]["result"]["text"] == "hi"
    assert {each.id for each in also.received} < {each.id for each in (*openais.received, *ours.received)}
    assert len({each.id for each in also.received}) == 2


async def test_a_rotation_with_overlap_signs_with_both_secrets(sdk: openai.AsyncOpenAI, worker: RunningWorker) -> None:
    async with receive("") as receiver:
        old = await _create(sdk, receiver.url)
        new = await sdk.webhooks.rotate_secret(old.id, keep_old_secret_active_for_24_hours=True)
        assert new.signing_secret != old.signing_secret
        receiver.secret = new.signing_secret
        await sdk.webhooks.test(old.id, event_type=cast(Any, "webhook.ping"))
        (received,) = receiver.received
        assert len(received.headers["webhook-signature"].split()) == 2
        for secret in (old.signing_secret, new.signing_secret):
            Webhook(secret).verify(received.body, received.headers)
            sdk.webhooks.verify_signature(received.body, received.headers, secret=secret)


async def test_a_rotation_without_overlap_ends_the_old_secrets_at_once(
    sdk: openai.AsyncOpenAI, worker: RunningWorker
) -> None:
    async with receive("") as receiver:
        first = await _create(sdk, receiver.url)
        second = await sdk.webhooks.rotate_secret(first.id, keep_old_secret_active_for_24_hours=True)
        third = await sdk.webhooks.rotate_secret(first.id)
        receiver.secret = third.signing_secret
        await sdk.webhooks.test(first.id, event_type=cast(Any, "webhook.ping"))
        (received,) = receiver.received
        assert len(received.headers["webhook-signature"].split()) == 1
        for secret in (first.signing_secret, second.signing_secret):
            with pytest.raises(openai.InvalidWebhookSignatureError):
                sdk.webhooks.verify_signature(received.body, received.headers, secret=secret)


async def test_nine_older_secrets_may_sign_and_no_more(sdk: openai.AsyncOpenAI) -> None:
    made = await _create(sdk)
    for _ in range(9):
        await sdk.webhooks.rotate_secret(made.id, keep_old_secret_active_for_24_hours=True)
    with pytest.raises(openai.ConflictError):
        await sdk.webhooks.rotate_secret(made.id, keep_old_secret_active_for_24_hours=True)
    await sdk.webhooks.rotate_secret(made.id)


async def test_there_is_a_most_of_endpoints(sdk: openai.AsyncOpenAI) -> None:
    for _ in range(50):
        await _create(sdk)
    with pytest.raises(openai.ConflictError, match="50 webhook endpoints"):
        await _create(sdk)


async def test_the_whole_life_of_an_endpoint_by_the_sdk_alone(sdk: openai.AsyncOpenAI, worker: RunningWorker) -> None:
    """Registers, sends a job, receives, verifies, rotates, receives again, and replays one that failed."""

    async def sends_a_job() -> str:
        job = await sdk.post("/jobs", body={"model": "echo/echo", "input": "hi"}, cast_to=dict[str, Any])
        return str(job["id"])

    async def delivery(state: str, job_id: str) -> dict[str, Any] | None:
        path = f"/webhook_endpoints/{endpoint.id}/deliveries?status={state}"
        page = await sdk.get(path, cast_to=dict[str, Any])
        return next((each for each in page["data"] if each["job_id"] == job_id), None)

    async with receive("") as receiver:
        endpoint = await _create(sdk, receiver.url)
        receiver.secret = endpoint.signing_secret
        first_job = await sends_a_job()
        await eventually(lambda: len(receiver.received) == 1)

        rotated = await sdk.webhooks.rotate_secret(endpoint.id)
        receiver.secret, receiver.answer = rotated.signing_secret, lambda _: web.Response(status=500)
        second_job = await sends_a_job()
        failed = await eventually(lambda: delivery("exhausted", second_job))

        receiver.answer = lambda _: web.Response(status=204)
        await sdk.post(f"/webhook_deliveries/{failed['id']}/redeliver", cast_to=dict[str, Any])
        await eventually(lambda: delivery("delivered", second_job))

    first, *others = receiver.received
    assert (first.event["data"]["id"], {each.event["data"]["id"] for each in others}) == (first_job, {second_job})
    assert ({each.id for each in others}, receiver.unverified) == ({failed["webhook_id"]}, 0)
    for received, secret in ((first, endpoint.signing_secret), (others[-1], rotated.signing_secret)):
        Webhook(secret).verify(received.body, received.headers)
        sdk.webhooks.unwrap(received.body, received.headers, secret=secret)
