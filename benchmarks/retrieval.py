"""Does the right document come first? Dense, lexical and hybrid search on questions.

    python -m benchmarks.retrieval --documents data/demo/documents \
        --questions data/demo/questions.jsonl

Each line of the questions holds `question` and `document` (a file name); those whose
`answerable` is false are left out. With `--corpus DIR` (corpus.jsonl, queries.jsonl and
qrels.tsv in BEIR's form) it measures nDCG@10 there instead. Prints a table and, last, one JSON
line.
"""

from __future__ import annotations

import argparse
import json
import random
import tempfile
from collections.abc import Sequence
from pathlib import Path
from statistics import fmean

from retrieval.calibrate import DEFAULT_LEXICAL_WEIGHT
from retrieval.database import Database
from retrieval.embed import Embedder
from retrieval.library import Library
from retrieval.measure import hit, ndcg
from retrieval.search import MAX_HITS
from server.settings import Settings

# Passages are cut as the server cuts them.
AS_SERVED = {
    "max_tokens": Settings().passage_tokens,
    "overlap_tokens": Settings().overlap_tokens,
}

Judged = list[tuple[str, dict[str, float]]]  # (question, relevant documents)
Files = list[tuple[str, bytes]]  # (document id, content)


def main(arguments: Sequence[str] | None = None) -> None:
    options = _options().parse_args(arguments)
    if options.corpus:
        files, questions = read_corpus(options.corpus, options.queries)
    else:
        files = [(path.name, path.read_bytes()) for path in sorted(options.documents.iterdir())]
        questions = read_questions(options.questions)
    arms = {
        "dense": {"lexical": False},
        "lexical": {"dense": False},
        **{f"hybrid {weight}": {"lexical_weight": weight} for weight in options.weights},
    }
    with tempfile.TemporaryDirectory() as folder:
        database = Database(Path(folder) / "houseword.db")
        library = Library(database, Embedder(options.embedder), folder=Path(folder))
        library.stores.create("store", owner="benchmark")
        for document_id, content in files:
            name = "" if options.corpus else document_id
            library.add("store", document_id=document_id, name=name, data=content, **AS_SERVED)
        figures = {name: measure(library, questions, **arm) for name, arm in arms.items()}
        passages = library.stores.get("store").passages
        library.close()
        database.close()
    print(f"{len(files)} documents, {passages} passages, {len(questions)} questions\n")
    print(f"{'search':14} {'hit@1':>7} {'hit@5':>7} {'nDCG@10':>8}")
    for name, row in figures.items():
        print(f"{name:14} {row['hit@1']:7.3f} {row['hit@5']:7.3f} {row['ndcg@10']:8.3f}")
    default = figures[f"hybrid {DEFAULT_LEXICAL_WEIGHT}"]
    print(json.dumps({"questions": len(questions), "passages": passages, **default}))


def measure(library: Library, questions: Judged, **arm: object) -> dict[str, float]:
    """Mean document hit@1, hit@5 and nDCG@10; a document ranks where its best passage does."""
    rankings = []
    for question, _ in questions:
        hits = library.search(["store"], question, k=MAX_HITS, **arm)  # type: ignore[arg-type]
        rankings.append(list(dict.fromkeys(found.passage.document_id for found in hits)))
    pairs = [(ranking, judged) for ranking, (_, judged) in zip(rankings, questions, strict=True)]
    return {
        "hit@1": round(fmean(hit(ranking, judged) for ranking, judged in pairs), 4),
        "hit@5": round(fmean(hit(ranking, judged, k=5) for ranking, judged in pairs), 4),
        "ndcg@10": round(fmean(ndcg(ranking, judged) for ranking, judged in pairs), 4),
    }


def read_questions(path: Path) -> Judged:
    """The questions that the documents answer, each with its document."""
    rows = [json.loads(line) for line in path.read_text().splitlines() if line.strip()]
    return [
        (row["question"], {row["document"]: 1.0}) for row in rows if row.get("answerable", True)
    ]


def read_corpus(folder: Path, queries: int) -> tuple[Files, Judged]:
    """A sample of whole topics (never single questions), with 600 documents besides."""
    corpus = [json.loads(line) for line in (folder / "corpus.jsonl").open()]
    asked = [json.loads(line) for line in (folder / "queries.jsonl").open()]
    judged: dict[str, dict[str, float]] = {}
    for line in (folder / "qrels.tsv").read_text().splitlines()[1:]:
        query, document, gain = line.split("\t")
        judged.setdefault(query, {})[document] = float(gain)
    asked = [row for row in asked if row["_id"] in judged]
    chance = random.Random(1)
    topics = sorted({row.get("focus", row["_id"]) for row in asked})
    chance.shuffle(topics)
    place = {topic: index for index, topic in enumerate(topics)}
    asked.sort(key=lambda row: place[row.get("focus", row["_id"])])
    questions = [(row["text"], judged[row["_id"]]) for row in asked[:queries]]
    needed = {document for _, gains in questions for document in gains}
    others = [row["_id"] for row in corpus if row["_id"] not in needed]
    needed.update(chance.sample(others, min(600, len(others))))
    files = [
        (row["_id"], f"{row['title']}\n\n{row['text']}".strip().encode())
        for row in corpus
        if row["_id"] in needed and row["text"].strip()
    ]
    return files, questions


def _options() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description="document hit@1, hit@5 and nDCG@10 of search")
    parser.add_argument("--documents", type=Path, default=Path("data/demo/documents"))
    parser.add_argument("--questions", type=Path, default=Path("data/demo/questions.jsonl"))
    parser.add_argument("--corpus", type=Path, help="a folder in BEIR's form, instead")
    parser.add_argument("--queries", type=int, default=300, help="how many of the corpus")
    parser.add_argument("--embedder", default="all-minilm-l6-v2")
    parser.add_argument(
        "--weights", type=float, nargs="+", default=[0.2, DEFAULT_LEXICAL_WEIGHT, 0.4, 0.5]
    )
    return parser


if __name__ == "__main__":
    main()
