"""/v1/vector_stores: create, list, retrieve, modify, delete and search stores.

Their files are in `store_files.py`.
"""

from __future__ import annotations

import time
from dataclasses import asdict
from typing import Annotated, Literal

from litestar import Router, delete, get, post
from litestar.params import FromPath, FromQuery, JSONBody, QueryParameter
from msgspec import UNSET

from retrieval.filter import Filter
from retrieval.records import Hit
from server.auth import Owner
from server.ids import new_id
from server.paging import paginate
from server.records import Counts, Wanted, Window
from server.schemas import Deleted, Listing, listing
from server.schemas_search import RankingOptions, Search, SearchPage, search_hit
from server.schemas_stores import (
    Retrieval,
    StoreCreate,
    StoreModify,
    StoreObject,
    chunking,
    store_object,
)
from server.services import AppServices, Services


@post("/", status_code=200, sync_to_thread=True)
def create_store(
    services: AppServices,
    owner: Owner,
    data: JSONBody[StoreCreate],
) -> StoreObject:
    """Make a store, and put files into it if some are named."""
    wanted = [
        Wanted(file_id, {}, chunking(data.chunking_strategy)) for file_id in data.file_ids or []
    ]
    store_id, now = new_id("vs"), int(time.time())
    services.library.stores.create(
        store_id,
        owner=owner,
        name=data.name or "",
        metadata=data.metadata or {},
        expires_after_days=data.expires_after.days if data.expires_after else None,
        # An unknown file undoes the store as well.
        also=lambda connection: services.ledger.attachments.attach_within(
            connection, owner, store_id, wanted, now=now
        ),
    )
    services.ingest.wake()
    return _object(services, owner, store_id)


@get("/", sync_to_thread=True)
def list_stores(
    services: AppServices,
    owner: Owner,
    limit: Annotated[int, QueryParameter(ge=1, le=100)] = 20,
    order: FromQuery[Literal["asc", "desc"]] = "desc",
    after: FromQuery[str | None] = None,
    before: FromQuery[str | None] = None,
) -> Listing[StoreObject]:
    """List the stores, the newest first."""
    window = Window(limit=limit, order=order, after=after, before=before)
    page = paginate(services.library.stores.of(owner), window, lambda store: store.id)
    usage = services.ledger.attachments.usage(store.id for store in page.items)
    now = int(time.time())
    return listing(
        page.map(
            lambda store: store_object(
                store, *usage[store.id], retrieval=_retrieval(services, store.id), now=now
            )
        )
    )


@get("/{store_id:str}", sync_to_thread=True)
def retrieve_store(
    services: AppServices,
    owner: Owner,
    store_id: FromPath[str],
) -> StoreObject:
    """Describe one store; `default` is the one that is searched where a request names none."""
    if store_id == "default":
        store_id = services.default_store(owner)
    return _object(services, owner, store_id)


@post("/{store_id:str}", status_code=200, sync_to_thread=True)
def modify_store(
    services: AppServices,
    owner: Owner,
    store_id: FromPath[str],
    data: JSONBody[StoreModify],
) -> StoreObject:
    """Change a store's name, metadata or expiry; what is left out stays."""
    store = services.store(owner, store_id)
    days = store.expires_after_days
    if data.expires_after is not UNSET:
        days = data.expires_after.days if data.expires_after else None
    services.library.stores.update(
        store_id,
        name=store.name if data.name is UNSET else data.name or "",
        metadata=store.metadata if data.metadata is UNSET else data.metadata or {},
        expires_after_days=days,
    )
    return _object(services, owner, store_id)


@delete("/{store_id:str}", status_code=200, sync_to_thread=True)
def delete_store(
    services: AppServices,
    owner: Owner,
    store_id: FromPath[str],
) -> Deleted:
    """Delete a store with its passages; the uploaded files stay."""
    services.store(owner, store_id)
    services.library.stores.delete(
        store_id, also=lambda connection: services.ledger.forget_store(connection, store_id)
    )
    return Deleted(store_id, "vector_store.deleted")


@post("/{store_id:str}/search", status_code=200, sync_to_thread=True)
def search_store(
    services: AppServices,
    owner: Owner,
    store_id: FromPath[str],
    data: JSONBody[Search],
) -> SearchPage:
    """Find passages by meaning and by words; filters apply before the best are chosen."""
    services.searchable_store(owner, store_id)
    queries = [data.query] if isinstance(data.query, str) else data.query
    options = data.ranking_options or RankingOptions()
    best: dict[int, Hit] = {}
    for query in queries:
        hits = services.library.search(
            [store_id],
            query,
            k=data.max_num_results,
            filter=Filter.parse(data.filters) if data.filters is not None else None,
        )
        for hit in hits:
            known = best.get(hit.passage.id)
            if known is None or known.score < hit.score:
                best[hit.passage.id] = hit
    ranked = sorted(best.values(), key=lambda hit: (-hit.score, hit.passage.id))
    kept = [hit for hit in ranked if hit.score >= options.score_threshold]
    return SearchPage(
        search_query=queries, data=[search_hit(hit) for hit in kept[: data.max_num_results]]
    )


def _object(services: Services, owner: str, store_id: str) -> StoreObject:
    store = services.store(owner, store_id)
    counts, usage_bytes = services.ledger.attachments.usage([store_id]).get(store_id, (Counts(), 0))
    return store_object(
        store,
        counts,
        usage_bytes,
        retrieval=_retrieval(services, store_id),
        now=int(time.time()),
    )


def _retrieval(services: Services, store_id: str) -> Retrieval:
    calibration = services.library.calibrations.of(store_id)
    index, recall = services.library.calibrations.index(store_id)
    return Retrieval(**asdict(calibration), index=index, recall=recall)


router = Router(
    path="/vector_stores",
    route_handlers=[
        create_store,
        list_stores,
        retrieve_store,
        modify_store,
        delete_store,
        search_store,
    ],
    tags=["vector stores"],
)
