"""A process with Sentry on: sends one webhook, makes one call to a provider, meets a bug. Prints nothing.

python -m tests.webhooks.sentry_process DSN WEBHOOK_URL PROVIDER_URL
"""

import asyncio
import logging
import sys
from ipaddress import ip_network

import sentry_sdk
from pydantic import SecretStr

from core.domain.ids import TenantId, new_job_id, new_uuid
from core.domain.inference import InferenceRequest
from core.observability.sentry import configure_sentry
from core.providers.faults import Fault
from core.providers.openai_compatible import Endpoint, OpenAICompatible
from core.settings import SentrySettings, WebhookSettings
from core.webhooks.egress.post import Egress


async def main(dsn: str, webhook_url: str, provider_url: str) -> None:
    configure_sentry(SentrySettings(dsn=SecretStr(dsn)), role="worker")
    settings = WebhookSettings(allow_http=True, allow_cidrs=(ip_network("127.0.0.0/8"),))
    async with Egress(settings) as egress:
        await egress.post(webhook_url, {}, b"{}", tenant_id=TenantId(new_uuid()))
    provider = OpenAICompatible(Endpoint(provider_url))
    request = InferenceRequest(new_job_id(), "m", ({"role": "user", "content": "hi"},), {}, 1, 1, 5.0)
    try:
        await provider.infer(request)
    except Fault:
        pass
    finally:
        await provider.aclose()
    logging.getLogger("app").info("posting to %s", webhook_url)
    try:
        raise ValueError(f"a bug with {webhook_url}")  # noqa: TRY301 - to be caught and reported
    except ValueError:
        logging.getLogger("app").exception("it broke at %s", webhook_url)
    sentry_sdk.flush(10)


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
