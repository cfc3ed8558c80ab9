"""The schema of retrieval as a numbered story. A step that has shipped is never edited."""

from __future__ import annotations

from retrieval.database import Connection


def m001_create_stores(connection: Connection) -> None:
    """A store's `revision` is a random word, new with every change of its passages."""
    connection.execute(
        """
        CREATE TABLE stores (
            id TEXT PRIMARY KEY,
            owner TEXT NOT NULL,
            name TEXT NOT NULL,
            metadata TEXT NOT NULL,
            expires_after_days INTEGER,
            created_at INTEGER NOT NULL,
            last_active_at INTEGER NOT NULL,
            revision TEXT NOT NULL
        )
        """
    )
    connection.execute("CREATE INDEX stores_by_owner ON stores (owner, created_at)")


def m002_create_documents(connection: Connection) -> None:
    """The text comes last in the row, so that listing documents does not read it."""
    connection.execute(
        """
        CREATE TABLE documents (
            store_id TEXT NOT NULL REFERENCES stores (id) ON DELETE CASCADE,
            id TEXT NOT NULL,
            name TEXT NOT NULL,
            digest TEXT NOT NULL,
            bytes INTEGER NOT NULL,
            media_type TEXT NOT NULL,
            characters INTEGER NOT NULL,
            attributes TEXT NOT NULL,
            source TEXT,
            created_at INTEGER NOT NULL,
            text TEXT NOT NULL,
            PRIMARY KEY (store_id, id)
        )
        """
    )
    connection.execute(
        "CREATE UNIQUE INDEX documents_by_source ON documents (store_id, source) "
        "WHERE source IS NOT NULL"
    )
    connection.execute("CREATE INDEX documents_by_digest ON documents (store_id, digest)")


def m003_create_passages(connection: Connection) -> None:
    """Ids are never used twice, so that an index that lags behind cannot confuse passages.

    `context` (title and heading) is searched and embedded in front of `text`; `digest` names
    the two together, so that an unchanged passage keeps its vector.
    """
    connection.execute(
        """
        CREATE TABLE passages (
            id INTEGER PRIMARY KEY AUTOINCREMENT,
            store_id TEXT NOT NULL,
            document_id TEXT NOT NULL,
            position INTEGER NOT NULL,
            start INTEGER NOT NULL,
            "end" INTEGER NOT NULL,
            page INTEGER,
            heading TEXT,
            tokens INTEGER NOT NULL,
            digest TEXT NOT NULL,
            context TEXT NOT NULL,
            text TEXT NOT NULL,
            UNIQUE (store_id, document_id, position),
            FOREIGN KEY (store_id, document_id)
                REFERENCES documents (store_id, id) ON DELETE CASCADE
        )
        """
    )
    connection.execute("CREATE INDEX passages_by_digest ON passages (store_id, digest)")


def m004_create_vectors(connection: Connection) -> None:
    """One float32 unit row for each window of a passage, for each embedder."""
    connection.execute(
        """
        CREATE TABLE vectors (
            passage_id INTEGER NOT NULL REFERENCES passages (id) ON DELETE CASCADE,
            fingerprint TEXT NOT NULL,
            part INTEGER NOT NULL,
            vector BLOB NOT NULL,
            PRIMARY KEY (passage_id, fingerprint, part)
        )
        """
    )


def m005_create_full_text(connection: Connection) -> None:
    """Full text over passages, kept in step by triggers; deleted words leave the file."""
    connection.execute(
        """
        CREATE VIRTUAL TABLE passages_fts USING fts5 (
            context, text, content = 'passages', content_rowid = 'id',
            tokenize = "porter unicode61 remove_diacritics 2"
        )
        """
    )
    connection.execute("INSERT INTO passages_fts (passages_fts, rank) VALUES ('secure-delete', 1)")
    connection.execute(
        """
        CREATE TRIGGER passages_indexed AFTER INSERT ON passages BEGIN
            INSERT INTO passages_fts (rowid, context, text)
            VALUES (new.id, new.context, new.text);
        END
        """
    )
    connection.execute(
        """
        CREATE TRIGGER passages_unindexed AFTER DELETE ON passages BEGIN
            INSERT INTO passages_fts (passages_fts, rowid, context, text)
            VALUES ('delete', old.id, old.context, old.text);
        END
        """
    )


def m006_create_search_models(connection: Connection) -> None:
    """Tuned searches of a store. `search_model` is the one that serves, NULL the server's own."""
    connection.execute("ALTER TABLE stores ADD COLUMN search_model TEXT")
    connection.execute(
        """
        CREATE TABLE search_models (
            seq INTEGER PRIMARY KEY AUTOINCREMENT,
            id TEXT NOT NULL,
            store_id TEXT NOT NULL REFERENCES stores (id) ON DELETE CASCADE,
            embedder TEXT,
            fingerprint TEXT NOT NULL,
            adapter TEXT,
            card TEXT NOT NULL,
            state TEXT NOT NULL CHECK (state IN ('building', 'candidate', 'active', 'retired')),
            created_at INTEGER NOT NULL,
            UNIQUE (store_id, id)
        )
        """
    )
    connection.execute(
        """
        CREATE TABLE search_activations (
            seq INTEGER PRIMARY KEY AUTOINCREMENT,
            store_id TEXT NOT NULL REFERENCES stores (id) ON DELETE CASCADE,
            version TEXT NOT NULL,
            how TEXT NOT NULL CHECK (how IN ('gate', 'hand', 'rollback')),
            forced INTEGER NOT NULL DEFAULT 0,
            created_at INTEGER NOT NULL
        )
        """
    )
    connection.execute(
        "CREATE INDEX search_activations_by_store ON search_activations (store_id, seq)"
    )


def m007_create_calibrations(connection: Connection) -> None:
    """What a store's search is set to under one embedder, and the questions it was chosen on.

    `passages` is how many the store had then: it tells when to fit again.
    """
    connection.execute(
        """
        CREATE TABLE calibrations (
            store_id TEXT NOT NULL REFERENCES stores (id) ON DELETE CASCADE,
            generation TEXT NOT NULL,
            lexical_weight REAL NOT NULL,
            threshold REAL NOT NULL,
            method TEXT NOT NULL,
            probes INTEGER NOT NULL,
            separation REAL,
            passages INTEGER NOT NULL,
            questions TEXT NOT NULL,
            PRIMARY KEY (store_id, generation)
        ) WITHOUT ROWID
        """
    )


def m008_fit_calibrations_again(connection: Connection) -> None:
    """Their thresholds were of another measure; they are fitted again in the background."""
    connection.execute("DELETE FROM calibrations")


def m009_fit_calibrations_once_more(connection: Connection) -> None:
    """Their thresholds were of evidence that no reader had seen; their questions stay."""
    connection.execute("UPDATE calibrations SET passages = 0, threshold = 0.32")


def m010_fit_calibrations_to_the_second_reader(connection: Connection) -> None:
    """Their thresholds were of another reader's evidence; their questions stay."""
    connection.execute("UPDATE calibrations SET passages = 0, threshold = 0.32")


def m011_calibrations_name_their_judge(connection: Connection) -> None:
    """A threshold holds for the judge that it was fitted with; one of another is fitted again."""
    connection.execute("ALTER TABLE calibrations ADD COLUMN judge TEXT NOT NULL DEFAULT ''")


MIGRATIONS = (
    m001_create_stores,
    m002_create_documents,
    m003_create_passages,
    m004_create_vectors,
    m005_create_full_text,
    m006_create_search_models,
    m007_create_calibrations,
    m008_fit_calibrations_again,
    m009_fit_calibrations_once_more,
    m010_fit_calibrations_to_the_second_reader,
    m011_calibrations_name_their_judge,
)
