"""/v1/models: everything that can be named as a model. A voice is a model."""

from __future__ import annotations

from litestar import Router, get
from litestar.params import FromPath

from server.auth import Owner
from server.errors import NotFound
from server.records import Page
from server.schemas import Listing, Model, listing
from server.services import AppServices


@get("/", sync_to_thread=True)
def list_models(services: AppServices, owner: Owner) -> Listing[Model]:
    """List the models."""
    models = [Model(**entry) for entry in services.model_list(owner)]
    return listing(Page(models, has_more=False))


# A path, because the names of hub models hold slashes.
@get("/{model_id:path}", sync_to_thread=True)
def retrieve_model(
    services: AppServices,
    owner: Owner,
    model_id: FromPath[str],
) -> Model:
    """Describe one model."""
    name = model_id.removeprefix("/")
    for entry in services.model_list(owner):
        # A folder's name begins with a slash of its own.
        if entry["id"] in (name, model_id):
            return Model(**entry)
    raise NotFound("model", name, code="model_not_found")


router = Router(path="/models", route_handlers=[list_models, retrieve_model], tags=["models"])
