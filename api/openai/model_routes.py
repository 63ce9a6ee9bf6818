"""`/v1/models`: which models a job may ask for by name."""

from fastapi import APIRouter, Request, Response

from api.http.admission import admit
from api.http.json_response import json_response
from api.http.operations import Endpoint, Returns, operation
from api.http.paging import whole
from api.openai.schemas import ModelListView

router = APIRouter(prefix="/v1/models", tags=["models"], route_class=Endpoint)


@router.get(
    "", **operation("models_list", "List models", returns={200: Returns(ModelListView, "Every model known by name.")})
)
async def list_(request: Request) -> Response:
    """Returns the models that are known by name. A provider without a list takes any name: `provider/…`."""
    call = await admit(request)
    return json_response(
        whole(
            [
                {"id": model.id, "object": "model", "created": 0, "owned_by": model.provider}
                for model in call.runtime.jobs.catalogue.models()
            ]
        )
    )
