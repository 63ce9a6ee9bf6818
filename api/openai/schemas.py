"""What an answer says of models and of the webhook secret."""

from typing_extensions import TypedDict


class ModelView(TypedDict):
    """As OpenAI has it; `created` is 0 because a server does not say."""

    id: str
    object: str
    created: int
    owned_by: str


class ModelListView(TypedDict):
    object: str
    data: list[ModelView]


class WebhookSecretView(TypedDict):
    """What `webhook.url` deliveries are signed with."""

    object: str
    secret: str
