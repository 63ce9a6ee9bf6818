"""`/v1/models`: which models a job may ask for by name."""

from fastapi import APIRouter, Response

from api.http.deps import CallerDep, RuntimeDep
from api.http.json_response import json_response
from api.http.openapi import answers
from api.openai.schemas import ModelListView

router = APIRouter(prefix="/v1/models", tags=["models"])


@router.get("", responses=answers(ModelListView, 200))
async def list_(runtime: RuntimeDep, _caller: CallerDep) -> Response:
    """The models that are known by name. A provider without a list takes any name: `provider/…`."""
    data = [
        {"id": model.id, "object": "model", "created": 0, "owned_by": model.provider}
        for model in runtime.jobs.catalogue.models()
    ]
    return json_response({"object": "list", "data": data})
