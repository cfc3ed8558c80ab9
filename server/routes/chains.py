"""/v1/chains: a few steps under one name, which chat and responses take as a model."""

from __future__ import annotations

import time

from litestar import Router, delete, get, post
from litestar.params import FromPath, JSONBody

from server.auth import Owner
from server.chain import NAME, Step, plan, refused
from server.chains import Chain
from server.errors import ApiError, NotFound
from server.records import Page
from server.schemas import Deleted, Listing, listing
from server.schemas_chains import ChainCreate, ChainObject, chain_object
from server.services import AppServices, Services
from tuning.errors import SchemaError


@post("/", status_code=200, sync_to_thread=True)
def create_chain(services: AppServices, owner: Owner, data: JSONBody[ChainCreate]) -> ChainObject:
    """Name a chain; its steps' voices, stores and schemas are checked now, and again when asked."""
    if not NAME.fullmatch(data.name):
        raise refused("name", "A chain's name is 1 to 40 of a-z, 0-9 and -.")
    taken = {model["id"] for model in services.model_list(owner)}
    taken |= {voice.name for voice in services.voices.list(owner)}
    if data.name in taken - {chain.name for chain in services.chains.list(owner)}:
        raise refused("name", f"'{data.name}' is the name of a model or voice already.")
    for number, step in enumerate(plan(data.steps)):
        _check(services, owner, step, f"steps[{number}] ({step.name})")
    chain = Chain(data.name, owner, int(time.time()), data.steps)
    services.chains.add(chain)
    return chain_object(chain)


def _check(services: Services, owner: str, step: Step, where: str) -> None:
    """Whether a step's parts exist; raises a 400 that names it."""
    if services.chains.find(owner, step.model):
        raise refused(where, f"{where}: a chain is no step of a chain.")
    try:
        services.resolve_model(owner, step.model)
        for store in step.stores or ():
            services.store(owner, store)
        if step.schema is not None:
            services.engine.grammars.of_schema(step.schema)
    except (ApiError, SchemaError) as error:
        raise refused(where, f"{where}: {error}") from error


@get("/", sync_to_thread=True)
def list_chains(services: AppServices, owner: Owner) -> Listing[ChainObject]:
    """List the chains, the oldest first."""
    chains = [chain_object(chain) for chain in services.chains.list(owner)]
    return listing(Page(chains, has_more=False))


@get("/{name:str}", sync_to_thread=True)
def retrieve_chain(services: AppServices, owner: Owner, name: FromPath[str]) -> ChainObject:
    """Describe one chain."""
    chain = services.chains.find(owner, name)
    if chain is None:
        raise NotFound("chain", name)
    return chain_object(chain)


@delete("/{name:str}", status_code=200, sync_to_thread=True)
def delete_chain(services: AppServices, owner: Owner, name: FromPath[str]) -> Deleted:
    """Forget a chain; the turns of its steps stay."""
    services.chains.delete(owner, name)
    return Deleted(name, "chain")


router = Router(
    path="/chains",
    route_handlers=[create_chain, list_chains, retrieve_chain, delete_chain],
    tags=["chains"],
)
