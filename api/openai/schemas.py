"""The shapes of models, as OpenAI has them."""

from typing import Annotated

from typing_extensions import TypedDict

from api.http.fields import described
from api.http.paging import PageView


class ModelView(TypedDict):
    """A model that a job may name."""

    id: Annotated[str, described("The name, as `model` of a job.", "local/smollm2-135m")]
    object: Annotated[str, described("Always `model`.", "model")]
    created: Annotated[int, described("Always 0: providers do not say.", 0)]
    owned_by: Annotated[str, described("The provider.", "local")]


class ModelListView(PageView):
    """Every model, on one page."""

    data: Annotated[list[ModelView], described("The models.")]
