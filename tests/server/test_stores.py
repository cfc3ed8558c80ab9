"""/v1/vector_stores, files, batches and search, through the official client."""

from __future__ import annotations

import io
import time
import zipfile
from pathlib import Path
from typing import Any

import openai
import pytest
from openai import OpenAI

RETURNS = b"# Returns\n\nReturns are free for 45 days. The refund takes six days."
SHIPPING = b"# Shipping\n\nShipping of an order costs seven dollars, free over 120 dollars."
TENT = b"# Tent\n\nThe green tent is for rain. Its price is 310 dollars."


def upload(client: OpenAI, name: str, content: bytes) -> str:
    return client.files.create(file=(name, content), purpose="assistants").id


def zipped() -> bytes:
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as file:
        file.writestr("a.bin", b"nothing to read")
    return archive.getvalue()


@pytest.fixture
def store_id(client: OpenAI) -> str:
    return client.vector_stores.create(name="house").id


def test_a_store_is_made_listed_changed_and_deleted(client: OpenAI, strict) -> None:
    raw = client.vector_stores.with_raw_response
    made = strict(raw.create(name="one", metadata={"team": "bench"}))
    assert (made.name, made.metadata, made.status) == ("one", {"team": "bench"}, "completed")
    assert made.file_counts.total == 0 and made.id.startswith("vs_")
    assert strict(raw.retrieve(made.id)) == made
    assert made.id in [store.id for store in strict(raw.list()).data]
    changed = strict(raw.update(made.id, name="two"))
    assert (changed.name, changed.metadata) == ("two", {"team": "bench"})
    assert strict(raw.update(made.id, metadata=None)).metadata == {}
    expiring = strict(raw.update(made.id, expires_after={"anchor": "last_active_at", "days": 2}))
    assert expiring.expires_at == expiring.last_active_at + 2 * 86_400
    assert strict(raw.delete(made.id)).deleted
    with pytest.raises(openai.NotFoundError):
        client.vector_stores.retrieve(made.id)


def test_stores_are_listed_page_by_page(client: OpenAI) -> None:
    ids = [client.vector_stores.create(name=f"{index}").id for index in range(5)]
    walked = [store.id for store in client.vector_stores.list(limit=2, order="asc")]
    assert [store_id for store_id in walked if store_id in ids] == ids
    before = client.vector_stores.list(limit=2, order="asc", before=ids[3])
    assert [store.id for store in before.data] == ids[1:3]
    with pytest.raises(openai.BadRequestError) as error:
        client.vector_stores.list(after="vs_unknown")
    assert error.value.param == "after"


def test_an_attached_file_is_found_by_search(client: OpenAI, strict, store_id: str) -> None:
    files = client.vector_stores.files
    attached = files.create_and_poll(
        upload(client, "returns.md", RETURNS), vector_store_id=store_id
    )
    assert attached.status == "completed" and attached.last_error is None
    strict(files.with_raw_response.retrieve(attached.id, vector_store_id=store_id))
    uploaded = files.upload_and_poll(vector_store_id=store_id, file=("tent.md", TENT))
    page = strict(
        client.vector_stores.with_raw_response.search(store_id, query="price of the tent")
    )
    assert page.data[0].file_id == uploaded.id and page.data[0].filename == "tent.md"
    assert "310 dollars" in page.data[0].content[0].text
    assert all(0 <= hit.score <= 1 for hit in page.data)
    assert page.search_query == ["price of the tent"]
    store = client.vector_stores.retrieve(store_id)
    assert (store.file_counts.completed, store.usage_bytes) == (2, len(RETURNS) + len(TENT))


def test_a_store_made_with_files_takes_them_in(client: OpenAI) -> None:
    file_id = upload(client, "returns.md", RETURNS)
    store = client.vector_stores.create(name="filled", file_ids=[file_id])
    assert store.status == "in_progress"
    assert client.vector_stores.files.poll(file_id, vector_store_id=store.id).status == "completed"
    assert client.vector_stores.retrieve(store.id).status == "completed"


def test_a_store_with_an_unknown_file_is_not_made(client: OpenAI) -> None:
    before = len(client.vector_stores.list(limit=100).data)
    with pytest.raises(openai.NotFoundError):
        client.vector_stores.create(name="nothing", file_ids=["file-unknown"])
    assert len(client.vector_stores.list(limit=100).data) == before


def test_a_batch_is_followed_to_its_end(
    client: OpenAI, strict, store_id: str, tmp_path: Path
) -> None:
    batches = client.vector_stores.file_batches
    raw = batches.with_raw_response
    good, bad = (
        upload(client, "returns.md", RETURNS),
        upload(client, "sheet.xlsx", zipped()),
    )
    batch = batches.create_and_poll(store_id, file_ids=[good, bad], attributes={"kind": "policy"})
    counts = strict(
        batches.with_raw_response.retrieve(batch.id, vector_store_id=store_id)
    ).file_counts
    assert (counts.completed, counts.failed, counts.total) == (1, 1, 2)
    listed = strict(raw.list_files(batch.id, vector_store_id=store_id))
    assert {file.id: file.status for file in listed.data} == {good: "completed", bad: "failed"}
    failed = client.vector_stores.files.list(store_id, filter="failed").data
    assert [file.last_error.code for file in failed if file.last_error] == ["unsupported_file"]
    paths = [tmp_path / "a.md", tmp_path / "b.md"]
    for index, path in enumerate(paths):
        path.write_bytes(TENT + str(index).encode())
    polled = batches.upload_and_poll(store_id, files=paths)
    assert (polled.status, polled.file_counts.completed) == ("completed", 2)


def test_files_of_a_batch_have_attributes_of_their_own(client: OpenAI, store_id: str) -> None:
    one, two = upload(client, "a.md", RETURNS), upload(client, "b.md", TENT)
    client.vector_stores.file_batches.create_and_poll(
        store_id,
        files=[{"file_id": one, "attributes": {"n": 1}}, {"file_id": two, "attributes": {"n": 2}}],
    )
    found = client.vector_stores.files.list(store_id).data
    assert {file.id: file.attributes for file in found} == {one: {"n": 1}, two: {"n": 2}}


def test_a_cancelled_batch_ends(client: OpenAI, strict, store_id: str) -> None:
    ids = [upload(client, f"{n}.md", TENT + b" %d" % n * 4000) for n in range(6)]
    batch = client.vector_stores.file_batches.create(store_id, file_ids=ids)
    raw = client.vector_stores.file_batches.with_raw_response
    cancelled = strict(raw.cancel(batch.id, vector_store_id=store_id))
    assert cancelled.status in ("cancelled", "completed")
    assert cancelled.file_counts.in_progress == 0
    time.sleep(0.5)
    assert (
        client.vector_stores.file_batches.retrieve(batch.id, vector_store_id=store_id) == cancelled
    )


@pytest.mark.parametrize(
    ("filters", "expected"),
    [
        ({"type": "eq", "key": "kind", "value": "policy"}, {"returns", "shipping"}),
        ({"type": "ne", "key": "kind", "value": "policy"}, {"tent"}),
        ({"type": "gte", "key": "year", "value": 2025}, {"shipping", "tent"}),
        ({"type": "in", "key": "year", "value": [2024, 2026]}, {"returns", "tent"}),
        (
            {
                "type": "and",
                "filters": [
                    {"type": "eq", "key": "kind", "value": "policy"},
                    {"type": "lt", "key": "year", "value": 2025},
                ],
            },
            {"returns"},
        ),
        ({"type": "eq", "key": "missing", "value": True}, set()),
    ],
)
def test_search_obeys_filters(client: OpenAI, filtered_store: str, filters, expected) -> None:
    page = client.vector_stores.search(filtered_store, query="dollars", filters=filters)
    assert {Path(hit.filename).stem for hit in page.data} == expected


@pytest.fixture(scope="module")
def filtered_store(client: OpenAI) -> str:
    store_id = client.vector_stores.create(name="filtered").id
    for name, content, kind, year in (
        ("returns.md", RETURNS, "policy", 2024),
        ("shipping.md", SHIPPING, "policy", 2025),
        ("tent.md", TENT, "product", 2026),
    ):
        client.vector_stores.files.create_and_poll(
            upload(client, name, content),
            vector_store_id=store_id,
            attributes={"kind": kind, "year": year},
        )
    return store_id


def test_search_takes_several_queries_a_limit_and_a_threshold(
    client: OpenAI, filtered_store: str
) -> None:
    search = client.vector_stores.search
    both = search(filtered_store, query=["refund", "tent"], max_num_results=2)
    assert len(both.data) == 2
    assert {hit.filename for hit in both.data} == {"returns.md", "tent.md"}
    strong = search(filtered_store, query="tent", ranking_options={"score_threshold": 0.9})
    assert [hit.filename for hit in strong.data] == ["tent.md"]


@pytest.mark.parametrize(
    "query", ['"', "a OR NEAR(", "* AND -x:", "tent'; DROP TABLE files;--", "\x00"]
)
def test_search_takes_every_query_literally(
    client: OpenAI, filtered_store: str, query: str
) -> None:
    client.vector_stores.search(filtered_store, query=query)


def test_attributes_can_be_changed(client: OpenAI, strict, store_id: str) -> None:
    files = client.vector_stores.files
    file_id = files.upload_and_poll(vector_store_id=store_id, file=("t.md", TENT)).id
    raw = files.with_raw_response
    attributes = {"open": True, "n": 2.5}
    changed = strict(raw.update(file_id, vector_store_id=store_id, attributes=attributes))
    assert changed.attributes == attributes
    hits = client.vector_stores.search(
        store_id, query="tent", filters={"type": "eq", "key": "open", "value": True}
    )
    assert hits.data[0].attributes == attributes


def test_chunking_is_recorded_as_asked(client: OpenAI, store_id: str) -> None:
    strategy = {"max_chunk_size_tokens": 800, "chunk_overlap_tokens": 400}
    file = client.vector_stores.files.create_and_poll(
        upload(client, "t.md", TENT),
        vector_store_id=store_id,
        chunking_strategy={"type": "static", "static": strategy},
    )
    assert file.chunking_strategy.static.to_dict() == strategy
    assert file.status == "completed"


def test_a_text_comes_back_as_it_was_read(client: OpenAI, strict, store_id: str) -> None:
    files = client.vector_stores.files
    file_id = files.upload_and_poll(vector_store_id=store_id, file=("t.md", TENT)).id
    page = strict(files.with_raw_response.content(file_id, vector_store_id=store_id))
    text = page.data[0].text
    assert "310 dollars" in text
    path = f"/vector_stores/{store_id}/files/{file_id}/passages"
    passages = client.get(path, cast_to=dict[str, Any])["data"]
    assert [passage["index"] for passage in passages] == list(range(len(passages)))
    assert passages and all(text[p["start"] : p["end"]] == p["text"] for p in passages)
    with pytest.raises(openai.NotFoundError):
        client.get(path.replace(file_id, "file-none"), cast_to=dict[str, Any])


def test_a_detached_file_is_found_no_more(client: OpenAI, strict, store_id: str) -> None:
    files = client.vector_stores.files
    file_id = files.upload_and_poll(vector_store_id=store_id, file=("t.md", TENT)).id
    assert strict(files.with_raw_response.delete(file_id, vector_store_id=store_id)).deleted
    assert client.vector_stores.search(store_id, query="tent").data == []
    assert client.files.retrieve(file_id).id == file_id
    with pytest.raises(openai.NotFoundError):
        files.retrieve(file_id, vector_store_id=store_id)


def test_a_deleted_file_leaves_every_store(client: OpenAI) -> None:
    stores = [client.vector_stores.create(name=name).id for name in ("a", "b")]
    file_id = upload(client, "t.md", TENT)
    for store_id in stores:
        client.vector_stores.files.create_and_poll(file_id, vector_store_id=store_id)
    client.files.delete(file_id)
    for store_id in stores:
        assert client.vector_stores.search(store_id, query="tent").data == []
        assert client.vector_stores.files.list(store_id).data == []


def test_a_duplicate_takes_over_when_the_first_goes(client: OpenAI, store_id: str) -> None:
    files = client.vector_stores.files
    first = files.upload_and_poll(vector_store_id=store_id, file=("t.md", TENT)).id
    second = files.upload_and_poll(vector_store_id=store_id, file=("t2.md", TENT))
    assert second.status == "completed" and second.to_dict()["duplicate_of"] == first
    assert len(client.vector_stores.search(store_id, query="tent").data) == 1
    assert files.content(second.id, vector_store_id=store_id).data[0].text
    client.files.delete(first)
    files.poll(second.id, vector_store_id=store_id)
    hits = client.vector_stores.search(store_id, query="tent").data
    assert [hit.file_id for hit in hits] == [second.id]


def test_a_new_version_of_a_source_replaces_the_old_one(client: OpenAI, store_id: str) -> None:
    ids = [
        client.vector_stores.files.create_and_poll(
            upload(client, "t.md", content),
            vector_store_id=store_id,
            attributes={"source": "/docs/t.md"},
        ).id
        for content in (TENT, TENT.replace(b"310", b"320"))
    ]
    hits = client.vector_stores.search(store_id, query="price of the tent").data
    assert {hit.file_id for hit in hits} == {ids[1]}
    assert "320 dollars" in hits[0].content[0].text
    assert [file.id for file in client.vector_stores.files.list(store_id).data] == [ids[1]]


def test_a_duplicate_with_other_attributes_gets_passages_of_its_own(
    client: OpenAI, store_id: str
) -> None:
    files = client.vector_stores.files
    first = files.upload_and_poll(vector_store_id=store_id, file=("t.md", TENT)).id
    second = files.upload_and_poll(vector_store_id=store_id, file=("t2.md", TENT)).id
    files.update(first, vector_store_id=store_id, attributes={"v": 1})
    assert files.poll(second, vector_store_id=store_id).to_dict()["duplicate_of"] is None
    hits = client.vector_stores.search(store_id, query="tent").data
    assert {hit.file_id: hit.attributes for hit in hits} == {first: {"v": 1}, second: {}}


def test_a_file_attached_again_with_other_attributes_is_taken_in_anew(
    client: OpenAI, store_id: str
) -> None:
    files = client.vector_stores.files
    file_id = upload(client, "t.md", TENT)
    for attributes in ({"v": 1}, {"v": 2}, {"v": 2}):
        file = files.create_and_poll(file_id, vector_store_id=store_id, attributes=attributes)
        assert file.status == "completed" and file.attributes == attributes
        hits = client.vector_stores.search(store_id, query="tent").data
        assert [hit.attributes for hit in hits] == [attributes]


@pytest.mark.parametrize(
    ("name", "content", "code"),
    [
        ("empty.txt", b"", "invalid_file"),
        ("cut.pdf", b"%PDF-1.7\n1 0 obj <<", "invalid_file"),
        ("noise.txt", bytes(range(256)) * 40, "unsupported_file"),
        ("archive.zip", zipped(), "unsupported_file"),
    ],
)
def test_a_bad_file_fails_in_words(client: OpenAI, store_id: str, name, content, code) -> None:
    file = client.vector_stores.files.create_and_poll(
        upload(client, name, content), vector_store_id=store_id
    )
    assert file.status == "failed" and file.last_error
    assert (file.last_error.code, " " in file.last_error.message) == (code, True)


@pytest.mark.parametrize(
    "body",
    [
        {"name": 5},
        {"metadata": {"k": "v" * 513}},
        {"metadata": {str(n): "v" for n in range(17)}},
        {"file_ids": ["f"] * 2001},
        {"chunking_strategy": {"type": "static", "static": {"max_chunk_size_tokens": 10}}},
        {"chunking_strategy": {"type": "magic"}},
        {"expires_after": {"anchor": "last_active_at", "days": 0}},
    ],
)
def test_a_bad_store_is_refused(client: OpenAI, body: dict) -> None:
    with pytest.raises(openai.BadRequestError) as error:
        client.post("/vector_stores", body=body, cast_to=object)
    assert error.value.body["message"]  # type: ignore[index]


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"query": ""},
        {"query": 5},
        {"query": []},
        {"query": "a", "max_num_results": 51},
        {"query": "a", "filters": {"type": "like", "key": "a", "value": "b"}},
        {"query": "a", "filters": {"type": "eq", "key": "a"}},
        {"query": "a", "filters": "all"},
        {"query": "a", "ranking_options": {"ranker": "best"}},
        {"query": "a", "ranking_options": {"score_threshold": 2}},
    ],
)
def test_a_bad_search_is_refused(client: OpenAI, filtered_store: str, body: dict) -> None:
    with pytest.raises(openai.BadRequestError):
        client.post(f"/vector_stores/{filtered_store}/search", body=body, cast_to=object)


def test_unknown_ids_are_not_found(client: OpenAI, store_id: str) -> None:
    stores = client.vector_stores
    file_id = upload(client, "t.md", TENT)
    for call in (
        lambda: stores.retrieve("vs_x"),
        lambda: stores.update("vs_x", name="x"),
        lambda: stores.delete("vs_x"),
        lambda: stores.search("vs_x", query="x"),
        lambda: stores.files.list("vs_x"),
        lambda: stores.files.create("vs_x", file_id=file_id),
        lambda: stores.files.create(store_id, file_id="file-x"),
        lambda: stores.files.retrieve(file_id, vector_store_id=store_id),
        lambda: stores.files.delete(file_id, vector_store_id=store_id),
        lambda: stores.files.content(file_id, vector_store_id=store_id),
        lambda: stores.file_batches.create("vs_x", file_ids=[file_id]),
        lambda: stores.file_batches.create(store_id, file_ids=[file_id, "file-x"]),
        lambda: stores.file_batches.retrieve("vsfb_x", vector_store_id=store_id),
        lambda: stores.file_batches.cancel("vsfb_x", vector_store_id=store_id),
        lambda: stores.file_batches.list_files("vsfb_x", vector_store_id=store_id),
    ):
        with pytest.raises(openai.NotFoundError) as error:
            call()
        assert error.value.code == "not_found"
    assert stores.files.list(store_id).data == []


def test_a_store_tells_how_it_is_searched(server, eventually) -> None:
    client = server.client
    store_id = client.vector_stores.create(name="tended").id
    told = client.vector_stores.retrieve(store_id).model_extra["retrieval"]
    assert (told["method"], told["lexical_weight"], told["index"]) == ("default", 0.3, "not loaded")
    days = "days returns refund shipping order price store lamp rack tent bag".split()
    for number in range(8):
        parts = [
            f"# {days[part]} of {days[number]} {number}{part}\n\n"
            + " ".join(f"The {word} of the {days[number]} is {part}{number}." for word in days)
            for part in range(3)
        ]
        file_id = upload(client, f"d{number}.md", "\n\n".join(parts).encode())
        client.vector_stores.files.create(store_id, file_id=file_id)
    fitted = eventually(
        lambda: (
            (now := client.vector_stores.retrieve(store_id).model_extra["retrieval"])["method"]
            == "probes"
            and now
        ),
        seconds=60,
    )
    assert fitted["probes"] >= 12 and 0 <= fitted["lexical_weight"] <= 1
    assert 0 < fitted["threshold"] < 1 and fitted["index"] == "exact" and fitted["recall"] is None
