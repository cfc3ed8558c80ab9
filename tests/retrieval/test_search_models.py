"""Versions of a store's search: built beside the live one, flipped, rolled back, never mixed."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from retrieval.database import Database
from retrieval.embed import Embedder
from retrieval.errors import Conflict, EmbedderError, NotBuilt, NotFound
from retrieval.library import Library
from retrieval.models import Rows
from retrieval.parse import Parser
from retrieval.records import Hit
from retrieval.versions import BASE, Version

SEARCHES = 2000


def version(
    id_: str, *, embedder: str | None = None, adapter: str | None = None, **more
) -> Version:
    return Version(
        id=id_,
        store_id="vs",
        embedder=embedder,
        fingerprint=more.get("fingerprint", ""),
        adapter=adapter,
        card=more.get("card", {}),
        state=more.get("state", "building" if embedder else "candidate"),
        created_at=0,
    )


def turned(rows: Rows) -> Rows:
    """A query adapter that turns every question round."""
    return -rows


@pytest.fixture(scope="session")
def tuned(other_embedder_folder: Path, wider_embedder_folder: Path) -> dict[str, Embedder]:
    return {
        "other": Embedder(other_embedder_folder, "cpu", numeric_mode="fp32"),
        "wider": Embedder(wider_embedder_folder, "cpu", numeric_mode="fp32"),
    }


Open = Callable[..., Library]


@pytest.fixture
def open_library(
    database: Database, embedder: Embedder, parser: Parser, tmp_path: Path, tuned
) -> Open:
    """A function that opens a library over the same data, as after a restart.

    With `on_its_own` it has connections of its own, as another process must.
    """

    def open_embedder(digest: str) -> Embedder:
        if digest not in tuned:
            raise EmbedderError(f"no embedder {digest!r}")
        return tuned[digest]

    def open_(*, on_its_own: bool = False) -> Library:
        return Library(
            Database(tmp_path / "houseword.db") if on_its_own else database,
            embedder,
            folder=tmp_path / "generations",
            parser=parser,
            open_embedder=open_embedder,
            open_adapter={"turned": turned}.__getitem__,
        )

    return open_


@pytest.fixture
def library(open_library: Open) -> Iterator[Library]:
    made = open_library()
    made.stores.create("vs", owner="local")
    for number in range(40):
        add(made, number)
    yield made
    made.close()


def add(library: Library, number: int) -> None:
    text = f"refund of bag {number} within {number} days, shipping rack {number * 7}"
    library.add("vs", document_id=f"d{number}", name=f"{number}.txt", data=text.encode())


def generations(library: Library, query: str = "refund", **more) -> set[str]:
    return {hit.generation for hit in library.search(["vs"], query, k=50, **more)}


def activate(library: Library, id_: str) -> None:
    library.search_models.build("vs", id_)
    library.search_models.activate("vs", id_, how="gate")


@pytest.mark.parametrize("name", ["other", "wider"])
def test_a_version_serves_once_it_is_built_and_activated(library: Library, tuned, name) -> None:
    base = library._embedder.fingerprint
    library.search_models.add(version(name, embedder=name))
    with pytest.raises(NotBuilt, match="40 passages"):
        library.search_models.activate("vs", name, how="gate")
    assert library.search_models.build("vs", name) == 40
    assert generations(library) == {base}
    assert generations(library, version=name) == {tuned[name].fingerprint}
    library.search_models.activate("vs", name, how="gate")
    assert generations(library) == {tuned[name].fingerprint}
    assert library.search_models.rollback("vs") == BASE
    assert generations(library) == {base}


def test_what_comes_and_goes_while_a_version_is_built_is_in_both(library: Library) -> None:
    models = library.search_models
    models.add(version("other", embedder="other"))
    done: list[int] = []

    def change(embedded: int, total: int) -> None:
        if not done:
            add(library, 100)
            library.remove("vs", "d3")
        done.append(embedded)

    models.build("vs", "other", progress=change)
    assert done[0] == 0 and done[-1] == 40
    add(library, 101)
    library.remove("vs", "d4")
    models.activate("vs", "other", how="gate")
    add(library, 102)
    library.remove("vs", "d5")
    expected = {f"d{n}" for n in [*range(40), 100, 101, 102] if n not in (3, 4, 5)}

    def found() -> set[str]:
        hits = library.search(["vs"], "refund", k=50, lexical=False)
        return {hit.passage.document_id for hit in hits}

    assert found() == expected
    began = time.perf_counter()
    models.rollback("vs")
    assert time.perf_counter() - began < 1
    assert found() == expected and models.unembedded("vs") == 0


def test_a_document_that_was_being_added_when_a_version_began_is_in_both(
    library: Library,
) -> None:
    begun = []

    def begin(stage: str, done: int, total: int) -> None:
        if stage == "indexing" and not begun:
            begun.append(stage)
            library.search_models.add(version("other", embedder="other"))
            activate(library, "other")

    library.add("vs", document_id="late", name="late.txt", data=b"a late lamp", progress=begin)
    assert begun and library.search_models.unembedded("vs") == 0
    hits = library.search(["vs"], "a late lamp", lexical=False)
    assert "late" in {hit.passage.document_id for hit in hits}


def test_building_goes_on_where_it_was_after_a_crash(library: Library, open_library: Open) -> None:
    for number in range(40, 160):
        add(library, number)
    library.search_models.add(version("other", embedder="other"))
    steps = []

    class Killed(Exception):
        pass

    def kill() -> None:
        steps.append(1)
        if len(steps) == 3:
            raise Killed

    with pytest.raises(Killed):
        library.search_models.build("vs", "other", check=kill)
    after = open_library()
    assert generations(after) == {after._embedder.fingerprint}
    assert after.search_models.unembedded("vs", "other") == 160 - 2 * 64
    add(after, 160)  # it is being built still, so it gets what comes
    assert after.search_models.unembedded("vs", "other") == 160 - 2 * 64
    progress: list[tuple[int, int]] = []
    after.search_models.build("vs", "other", progress=lambda *step: progress.append(step))
    assert progress[0] == (129, 161) and progress[-1] == (161, 161)
    after.search_models.activate("vs", "other", how="gate")
    assert len(after.search(["vs"], "refund", k=50, lexical=False)) == 50


def test_a_kill_in_the_middle_of_a_flip_leaves_one_whole_version(
    library: Library, open_library: Open, tuned
) -> None:
    """A process that flips to and fro is killed; what it acknowledged, and no half flip, stays."""
    names = {BASE: library._embedder.fingerprint, "other": tuned["other"].fingerprint}
    library.search_models.add(version("other", embedder="other"))
    library.search_models.build("vs", "other")
    acknowledged = 0
    for seconds in (0.02, 0.05, 0.11, 0.17, 0.23):
        reading, writing = os.pipe()
        if (child := os.fork()) == 0:
            flip_for_ever(open_library(on_its_own=True), writing)
        os.close(writing)
        told = os.read(reading, 1)  # it has begun
        time.sleep(seconds)
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        while more := os.read(reading, 4096):
            told += more
        os.close(reading)
        acknowledged += len(told)
        done = library.search_models.activations("vs")
        assert acknowledged <= len(done) <= acknowledged + 1
        acknowledged = len(done)
        assert generations(library) == {names[done[-1].version]}
    assert acknowledged > 10, "hardly a flip was made"


def flip_for_ever(library: Library, acknowledged: int) -> None:
    """Tell each flip by a byte; ends with the process only."""
    try:
        while True:
            active = library.search_models.active("vs")
            library.search_models.activate("vs", BASE if active else "other", how="hand")
            os.write(acknowledged, b".")
    finally:
        os._exit(1)


def test_no_search_fails_or_mixes_spaces_while_everything_is_embedded_anew(
    library: Library, embedder: Embedder, tuned
) -> None:
    """2,000 searches from two threads during a full re-embedding, the flip and a rollback."""
    queries = [f"bag {n} refund days" for n in range(7)]
    spaces = {e.fingerprint: e for e in (embedder, tuned["other"])}
    asked = {key: e.embed(queries, queries=True) for key, e in spaces.items()}
    big = "\n\n".join(f"refund {n} of the bag within {n} days" for n in range(300)).encode()
    library.add("vs", document_id="big", name="big.txt", data=big, max_tokens=12, overlap_tokens=0)
    by_id = {
        passage.id: f"{Path(document.name).stem}\n{passage.text}"
        for document in library.documents("vs")
        for passage in library.passages("vs", document.id)
    }
    assert len(by_id) > 250
    rows = {
        key: dict(zip(by_id, e.embed(list(by_id.values())), strict=True))
        for key, e in spaces.items()
    }
    results: list[tuple[int, list[Hit]]] = []
    failures: list[Exception] = []
    flips: list[float] = []
    over = threading.Event()

    def search(first: int) -> None:
        number = first
        while len(results) < SEARCHES or not over.is_set():
            number += 1
            try:
                hits = library.search(["vs"], queries[number % 7], k=5)
                results.append((number % 7, hits))
            except Exception as error:
                failures.append(error)
                return

    threads = [threading.Thread(target=search, args=(n,)) for n in range(2)]
    for thread in threads:
        thread.start()
    models = library.search_models
    while len(results) < SEARCHES // 4:
        time.sleep(0.01)
    models.add(version("other", embedder="other"))
    models.build("vs", "other", check=lambda: time.sleep(0.1))
    for change in (
        lambda: models.activate("vs", "other", how="gate"),
        lambda: models.rollback("vs"),
    ):
        seen = len(results)
        began = time.perf_counter()
        change()
        flips.append(time.perf_counter() - began)
        while len(results) < seen + SEARCHES // 4:
            time.sleep(0.01)
    over.set()
    for thread in threads:
        thread.join()
    assert failures == [] and len(results) >= SEARCHES
    assert {hit.generation for _, hits in results for hit in hits} == set(spaces)
    for query, hits in results:
        (space,) = {hit.generation for hit in hits}
        for hit in hits:
            assert hit.dense == pytest.approx(
                float(asked[space][query] @ rows[space][hit.passage.id]), abs=1e-5
            )
    assert max(flips) < 0.1, flips


def test_a_query_adapter_moves_questions_and_leaves_the_generation(library: Library) -> None:
    fingerprint = library._embedder.fingerprint
    before = library.search(["vs"], "refund", lexical=False, k=40)
    files = set(library._generations._served)
    library.search_models.add(version("turned", adapter="turned", fingerprint=fingerprint))
    library.search_models.activate("vs", "turned", how="gate")
    after = library.search(["vs"], "refund", lexical=False, k=40)
    assert {hit.generation for hit in after} == {f"{fingerprint}+turned"}
    dense = {hit.passage.id: hit.dense for hit in before}
    assert [hit.dense for hit in after] == pytest.approx(
        [-dense[hit.passage.id] for hit in after], abs=1e-6
    )
    assert set(library._generations._served) == files


@pytest.mark.parametrize(
    "made",
    [
        version("gone", embedder="gone", state="candidate"),
        version("gone", adapter="gone", fingerprint="BASE"),
        version("turned", adapter="turned", fingerprint="another space"),
    ],
)
def test_what_cannot_be_opened_leaves_the_base_serving(library: Library, made: Version) -> None:
    from dataclasses import replace

    if made.fingerprint == "BASE":
        made = replace(made, fingerprint=library._embedder.fingerprint)
    before = library.search(["vs"], "refund")
    library.search_models.add(made)
    library.search_models.activate("vs", made.id, how="hand")
    assert library.search(["vs"], "refund") == before


def test_activations_are_remembered_and_rolled_back_one_by_one(library: Library) -> None:
    models = library.search_models
    fingerprint = library._embedder.fingerprint
    models.add(version("turned", adapter="turned", fingerprint=fingerprint))
    models.add(version("other", embedder="other", card={"passed": True}))
    models.activate("vs", "turned", how="hand")
    activate(library, "other")
    told = [(a.version, a.how, a.forced) for a in models.activations("vs")]
    assert told == [("turned", "hand", True), ("other", "gate", False)]
    assert [v.state for v in models.versions("vs")] == ["retired", "active"]
    assert models.rollback("vs") == "turned"
    assert models.rollback("vs") == BASE
    with pytest.raises(Conflict, match="nothing to bring back"):
        models.rollback("vs")
    with pytest.raises(NotFound):
        models.activate("vs", "nope", how="hand")
    with pytest.raises(NotFound):
        models.activate("nope", BASE, how="hand")


def test_stores_with_different_models_are_searched_each_by_its_own(library: Library) -> None:
    library.stores.create("plain", owner="local")
    library.add("plain", document_id="p", name="p.txt", data=b"refund of the plain bag")
    library.search_models.add(version("wider", embedder="wider"))
    activate(library, "wider")
    hits = library.search(["vs", "plain"], "refund of the plain bag", k=50)
    assert len({(hit.passage.store_id, hit.generation) for hit in hits}) == 2
    assert [hit.score for hit in hits] == sorted((hit.score for hit in hits), reverse=True)
    assert np.isfinite([hit.dense for hit in hits]).all()


def test_a_candidate_that_was_refused_gets_no_new_documents(library: Library) -> None:
    models = library.search_models
    models.add(version("other", embedder="other"))
    models.build("vs", "other")
    models.judged("vs", "other", {"passed": False})
    add(library, 200)
    assert models.unembedded("vs", "other") == 1 and models.unembedded("vs") == 0
    (candidate,) = models.versions("vs")
    assert candidate.state == "candidate" and candidate.card == {"passed": False}


def test_an_emptied_and_a_deleted_store_keep_nothing(library: Library) -> None:
    library.search_models.add(version("other", embedder="other"))
    activate(library, "other")
    for document in library.documents("vs"):
        library.remove("vs", document.id)
    assert library.search(["vs"], "refund") == []
    assert library.search_models.build("vs", "other") == 0
    library.stores.delete("vs")
    library.stores.create("vs", owner="local")
    assert library.search_models.versions("vs") == []
    assert library.search_models.active("vs") is None
