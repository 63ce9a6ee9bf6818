"""The answer of `/v1/webhook_secret`."""

from typing import Annotated

from typing_extensions import TypedDict

from api.http.fields import described


class WebhookSecretView(TypedDict):
    """What deliveries to `webhook.url` are signed with."""

    object: Annotated[str, described("Always `webhook_secret`.", "webhook_secret")]
    secret: Annotated[str, described("The secret, for a receiver that verifies by Standard Webhooks 1.0.", "whsec_…")]
