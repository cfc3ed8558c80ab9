from __future__ import annotations

import shutil
import threading
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule, run_state_machine_as_test

from retrieval.database import Connection, Database
from retrieval.embed import Embedder
from retrieval.errors import Cancelled, Conflict, InvalidAttributes, InvalidFile, NotFound
from retrieval.library import Library
from retrieval.parse import Parser

RETURNS = b"# Returns\n\nA refund is paid within 45 days.\n\n# Fees\n\nThe fee is 6 dollars."


def add(library: Library, document_id: str, data: bytes = RETURNS, **more):
    more.setdefault("name", "returns.md")
    return library.add("vs", document_id=document_id, data=data, **more)


def names(library: Library, query: str = "refund", **more) -> list[str]:
    return [hit.passage.document_id for hit in library.search(["vs"], query, **more)]


# -- add


def test_passages_are_spans_of_the_document_text(library: Library) -> None:
    added = add(library, "d1", max_tokens=30, overlap_tokens=5)
    passages = library.passages("vs", "d1")
    text = library.document_text("vs", "d1")
    assert added.outcome == "added" and added.passages == len(passages) == 2
    assert added.characters == len(text)
    for index, passage in enumerate(passages):
        assert passage.text == text[passage.start : passage.end]
        assert (passage.index, passage.document_id) == (index, "d1")
    assert [passage.heading for passage in passages] == ["Returns", "Fees"]


def test_a_document_is_found_once_add_returns(library: Library) -> None:
    add(library, "d1", attributes={"year": 2026})
    for sides in ({}, {"dense": False}, {"lexical": False}):
        hit = library.search(["vs"], "refund days", **sides)[0]
        assert hit.passage.document_id == "d1" and 0 <= hit.score <= 1
        assert hit.document_name == "returns.md" and hit.attributes == {"year": 2026}


def test_progress_names_the_stages_in_order(library: Library) -> None:
    seen: list[tuple[str, int, int]] = []
    add(library, "d1", progress=lambda *step: seen.append(step))
    assert list(dict.fromkeys(stage for stage, _, _ in seen)) == [
        "parsing",
        "embedding",
        "indexing",
    ]
    assert ("embedding", 2, 2) in seen


def test_the_same_content_is_skipped_and_the_caller_is_told_of_the_first(library: Library) -> None:
    add(library, "d1")
    noted: list[str] = []
    added = add(library, "d2", name="copy.md", also=lambda connection: noted.append("also"))
    assert (added.outcome, added.duplicate_of, added.passages) == ("skipped", "d1", 2)
    assert noted == ["also"]
    assert [document.id for document in library.documents("vs")] == ["d1"]
    assert add(library, "d1").duplicate_of is None
    assert add(library, "d3", attributes={"a": 1}).outcome == "added"
    assert add(library, "d4", source="/x").outcome == "added"


def test_new_content_of_a_source_replaces_the_old(library: Library) -> None:
    add(library, "d1", source="/returns.md")
    added = add(library, "d2", RETURNS + b"\n\n# New\n\nStore price.", source="/returns.md")
    assert (added.outcome, added.replaced) == ("replaced", "d1")
    assert [document.id for document in library.documents("vs")] == ["d2"]
    assert set(names(library, "refund fee store")) == {"d2"}


def test_an_unchanged_passage_is_not_embedded_again(
    library: Library, embedder: Embedder, monkeypatch: pytest.MonkeyPatch
) -> None:
    add(library, "d1", source="/returns.md")
    embedded: list[str] = []
    original = embedder.embed_windows

    def counted(texts, **more):
        embedded.extend(texts)
        return original(texts, **more)

    monkeypatch.setattr(embedder, "embed_windows", counted)
    add(library, "d2", RETURNS + b"\n\n# New\n\nStore price.", source="/returns.md")
    assert len(embedded) == 1 and "Store price" in embedded[0]


def test_an_id_with_other_content_is_a_conflict(library: Library) -> None:
    add(library, "d1")
    with pytest.raises(Conflict):
        add(library, "d1", b"other")


def test_also_is_part_of_the_transaction(library: Library) -> None:
    def fails(connection: Connection) -> None:
        raise ValueError("no")

    with pytest.raises(ValueError):
        add(library, "d1", also=fails)
    assert library.documents("vs") == [] and names(library) == []
    add(library, "d1")
    with pytest.raises(ValueError):
        library.remove("vs", "d1", also=fails)
    assert set(names(library)) == {"d1"}


def test_a_cancelled_or_unreadable_file_leaves_nothing(library: Library) -> None:
    answers = iter([False, True])
    with pytest.raises(Cancelled):
        add(library, "d1", cancelled=lambda: next(answers))
    with pytest.raises(InvalidFile):
        add(library, "d1", b"")
    assert library.stores.get("vs").passages == 0


def test_attributes_that_cannot_be_kept_are_refused(library: Library) -> None:
    with pytest.raises(InvalidAttributes, match="'bad'"):
        add(library, "d1", attributes={"bad": float("nan")})


def test_a_passage_longer_than_the_window_is_found_by_its_end(
    library: Library, embedder: Embedder
) -> None:
    add(library, "d1", b"bag " * 100 + b"warranty", max_tokens=400, overlap_tokens=0)
    assert len(library.passages("vs", "d1")) == 1
    ending = "bag " * 20 + "warranty"
    (hit,) = library.search(["vs"], ending, lexical=False)
    rows = embedder.embed_windows(["returns\n" + "bag " * 100 + "warranty"])[1]
    assert len(rows) > 1
    assert hit.dense == pytest.approx(float((rows @ embedder.embed([ending])[0]).max()), abs=1e-4)


# -- remove, generations, stores


def test_a_removed_document_is_gone_from_everything(library: Library, database: Database) -> None:
    secret = "zanzibarquux"
    add(library, "d1", f"refund {secret}".encode())
    library.search(["vs"], secret)
    library._generations.save()
    assert library.remove("vs", "d1") is True
    assert library.remove("vs", "d1") is False
    assert library.search(["vs"], secret) == []
    with pytest.raises(NotFound):
        library.document_text("vs", "d1")
    for path in database.path.parent.rglob("*"):
        assert path.is_dir() or secret.encode() not in path.read_bytes(), path
    assert not list(database.path.parent.rglob("*.faiss"))


def reopened(library: Library, embedder: Embedder, parser: Parser) -> Library:
    folder = library._generations._folder
    return Library(library._database, embedder, folder=folder, parser=parser)


@pytest.mark.parametrize("damage", ["none", "closed", "torn", "stale", "foreign files"])
def test_a_restart_finds_the_same_whatever_lies_on_the_disk(
    library: Library, embedder: Embedder, parser: Parser, damage: str
) -> None:
    add(library, "d1")
    before = library.search(["vs"], "refund")
    folder = library._generations._folder
    if damage != "none":
        library.close()
    if damage == "torn":
        index = next(folder.rglob("*.faiss"))
        index.write_bytes(index.read_bytes()[:100])
    if damage == "stale":
        add(library, "d2", b"refund of another bag")
        before = library.search(["vs"], "refund")
    if damage == "foreign files":
        shutil.copy(next(folder.rglob("*.faiss")), folder / "vs" / "index.faiss.part")
        (folder / "stray").write_text("x")
    assert reopened(library, embedder, parser).search(["vs"], "refund") == before


def test_another_embedder_of_the_same_dimension_never_mixes_spaces(
    library: Library, other_embedder_folder: Path, parser: Parser
) -> None:
    add(library, "d1")
    library.close()
    other = reopened(library, Embedder(other_embedder_folder, numeric_mode="fp32"), parser)
    assert other.search_models.unembedded("vs") == 2
    assert other.search(["vs"], "refund", lexical=False) == []
    with pytest.raises(Cancelled):
        other.tend(stopped=lambda: True)
    other.tend()
    assert other.search_models.unembedded("vs") == 0
    hit = other.search(["vs"], "refund")[0]
    assert hit.generation == other._embedder.fingerprint and hit.dense != 0


def test_stores_keep_what_is_said_of_them(library: Library) -> None:
    library.stores.create("b", owner="someone", metadata={"a": "1"}, expires_after_days=7)
    assert [store.id for store in library.stores.of("local")] == ["vs"]
    assert library.stores.get("b").expires_after_days == 7
    changed = library.stores.update("b", name="new", metadata={})
    assert (changed.name, changed.metadata, changed.expires_after_days) == ("new", {}, None)
    with pytest.raises(Conflict):
        library.stores.create("b", owner="local")
    with pytest.raises(NotFound):
        library.stores.update("nope", name="", metadata={})


def test_a_deleted_store_is_gone_with_its_documents(library: Library) -> None:
    add(library, "d1")
    library.search(["vs"], "refund")
    assert library.stores.delete("vs") is True
    assert library.stores.delete("vs") is False
    with pytest.raises(NotFound):
        library.search(["vs"], "refund")
    library.stores.create("vs", owner="local")
    assert library.search(["vs"], "refund") == []


def test_searching_while_adding_and_removing_never_fails(library: Library) -> None:
    stop, failures = threading.Event(), []

    def search() -> None:
        while not stop.is_set():
            try:
                for hit in library.search(["vs"], "refund of the bag", k=5):
                    assert hit.passage.text
            except Exception as error:
                failures.append(error)
                return

    threads = [threading.Thread(target=search) for _ in range(3)]
    for thread in threads:
        thread.start()
    for number in range(30):
        add(library, f"d{number}", f"refund of the bag {number}".encode())
        if number % 3 == 2:
            library.remove("vs", f"d{number - 1}")
    stop.set()
    for thread in threads:
        thread.join()
    assert failures == []
    assert len(library.documents("vs")) == 20
    assert (
        len(library._generations.get("vs", library._embedder)) == library.stores.get("vs").passages
    )


def test_any_sequence_of_changes_equals_a_dictionary(
    embedder: Embedder, parser: Parser, tmp_path_factory: pytest.TempPathFactory
) -> None:
    contents = st.sampled_from(["refund one", "refund two", "refund three"])
    sources = st.sampled_from([None, "/a", "/b"])

    class Changes(RuleBasedStateMachine):
        def __init__(self) -> None:
            super().__init__()
            folder = tmp_path_factory.mktemp("stateful")
            self.database = Database(folder / "houseword.db")
            self.library = Library(self.database, embedder, folder=folder, parser=parser)
            self.library.stores.create("vs", owner="local")
            self.expected: dict[str, tuple[str, str | None]] = {}
            self.count = 0

        @rule(content=contents, source=sources)
        def add(self, content: str, source: str | None) -> None:
            self.count += 1
            added = add(self.library, f"d{self.count}", content.encode(), source=source)
            if (content, source) in self.expected.values():
                assert added.outcome == "skipped"
                return
            old = [key for key, value in self.expected.items() if source and value[1] == source]
            assert added.replaced == (old[0] if old else None)
            for key in old:
                del self.expected[key]
            self.expected[f"d{self.count}"] = (content, source)

        @rule(data=st.data())
        def remove(self, data: st.DataObject) -> None:
            known = [*self.expected, "unknown"]
            chosen = data.draw(st.sampled_from(known))
            assert self.library.remove("vs", chosen) is (chosen in self.expected)
            self.expected.pop(chosen, None)

        @rule()
        def restart(self) -> None:
            self.library._generations.save()
            self.library = reopened(self.library, embedder, parser)

        @invariant()
        def everything_agrees(self) -> None:
            documents = {document.id for document in self.library.documents("vs")}
            assert documents == set(self.expected)
            assert set(names(self.library, k=50)) == set(self.expected)
            held = self.library._generations.get("vs", embedder)
            assert len(held) == len(self.expected)

        def teardown(self) -> None:
            self.database.close()

    run_state_machine_as_test(
        Changes,
        settings=settings(
            max_examples=8,
            stateful_step_count=12,
            deadline=None,
            suppress_health_check=list(HealthCheck),
        ),
    )
