"""The server's tables, as a numbered story. A migration that has shipped is never edited.

Every row has an owner. `seq` is the order of creation, which lists and cursors follow; times
are Unix seconds; json columns hold text.
"""

from __future__ import annotations

from retrieval.database import Connection

_SEQ = "seq INTEGER PRIMARY KEY AUTOINCREMENT"


def m001_create_files(connection: Connection) -> None:
    """Uploaded files, their places in stores (which is also the ingest queue), and batches."""
    connection.execute(
        f"""
        CREATE TABLE files (
            {_SEQ},
            id TEXT NOT NULL UNIQUE,
            owner TEXT NOT NULL,
            filename TEXT NOT NULL,
            purpose TEXT NOT NULL,
            bytes INTEGER NOT NULL,
            digest TEXT NOT NULL,
            created_at INTEGER NOT NULL,
            expires_at INTEGER
        )"""
    )
    connection.execute("CREATE INDEX files_by_digest ON files (digest)")
    connection.execute(
        f"""
        CREATE TABLE attachments (
            {_SEQ},
            store_id TEXT NOT NULL,
            file_id TEXT NOT NULL REFERENCES files (id),
            owner TEXT NOT NULL,
            status TEXT NOT NULL
                CHECK (status IN ('in_progress', 'completed', 'failed', 'cancelled')),
            error_code TEXT,
            error_message TEXT,
            attributes TEXT NOT NULL DEFAULT '{{}}',
            chunking TEXT NOT NULL,
            source TEXT,
            stage TEXT NOT NULL DEFAULT 'waiting',
            done INTEGER NOT NULL DEFAULT 0,
            total INTEGER NOT NULL DEFAULT 0,
            usage_bytes INTEGER NOT NULL DEFAULT 0,
            duplicate_of TEXT,
            queued_at INTEGER NOT NULL,
            created_at INTEGER NOT NULL,
            UNIQUE (store_id, file_id)
        )"""
    )
    connection.execute("CREATE INDEX attachments_by_file ON attachments (file_id)")
    connection.execute("CREATE INDEX attachments_by_status ON attachments (status, queued_at, seq)")
    connection.execute(
        f"""
        CREATE TABLE batches (
            {_SEQ},
            id TEXT NOT NULL UNIQUE,
            owner TEXT NOT NULL,
            store_id TEXT NOT NULL,
            cancelled INTEGER NOT NULL DEFAULT 0,
            created_at INTEGER NOT NULL
        )"""
    )
    connection.execute(
        """
        CREATE TABLE batch_files (
            batch_id TEXT NOT NULL REFERENCES batches (id) ON DELETE CASCADE,
            file_id TEXT NOT NULL,
            owner TEXT NOT NULL,
            PRIMARY KEY (batch_id, file_id)
        ) WITHOUT ROWID"""
    )
    connection.execute(
        "CREATE TABLE default_stores (owner TEXT PRIMARY KEY, store_id TEXT NOT NULL) WITHOUT ROWID"
    )


def m002_create_jobs(connection: Connection) -> None:
    """Training jobs with their events and checkpoints."""
    connection.execute(
        f"""
        CREATE TABLE jobs (
            {_SEQ},
            id TEXT NOT NULL UNIQUE,
            owner TEXT NOT NULL,
            kind TEXT NOT NULL,
            status TEXT NOT NULL CHECK (status IN
                ('validating_files', 'queued', 'running', 'succeeded', 'failed', 'cancelled')),
            model TEXT NOT NULL,
            suffix TEXT,
            request TEXT NOT NULL,
            request_digest TEXT NOT NULL,
            error TEXT,
            created_at INTEGER NOT NULL,
            started_at INTEGER,
            finished_at INTEGER,
            fine_tuned_model TEXT,
            trained_tokens INTEGER,
            result TEXT
        )"""
    )
    connection.execute("CREATE INDEX jobs_by_digest ON jobs (owner, request_digest, created_at)")
    connection.execute("CREATE INDEX jobs_by_status ON jobs (status, seq)")
    connection.execute(
        f"""
        CREATE TABLE job_events (
            {_SEQ},
            id TEXT NOT NULL UNIQUE,
            job_id TEXT NOT NULL REFERENCES jobs (id) ON DELETE CASCADE,
            owner TEXT NOT NULL,
            level TEXT NOT NULL,
            type TEXT NOT NULL,
            message TEXT NOT NULL,
            data TEXT,
            created_at INTEGER NOT NULL
        )"""
    )
    connection.execute("CREATE INDEX job_events_by_job ON job_events (job_id, seq)")
    connection.execute(
        f"""
        CREATE TABLE job_checkpoints (
            {_SEQ},
            id TEXT NOT NULL UNIQUE,
            job_id TEXT NOT NULL REFERENCES jobs (id) ON DELETE CASCADE,
            owner TEXT NOT NULL,
            step INTEGER NOT NULL,
            digest TEXT,
            metrics TEXT NOT NULL,
            created_at INTEGER NOT NULL
        )"""
    )
    connection.execute("CREATE INDEX job_checkpoints_by_job ON job_checkpoints (job_id, seq)")


def m003_create_voices(connection: Connection) -> None:
    """Adapters by their model id, and the voices that point at them."""
    connection.execute(
        f"""
        CREATE TABLE adapters (
            {_SEQ},
            id TEXT NOT NULL,
            owner TEXT NOT NULL,
            voice TEXT NOT NULL,
            digest TEXT NOT NULL,
            job_id TEXT,
            base TEXT NOT NULL,
            card TEXT NOT NULL,
            state TEXT NOT NULL CHECK (state IN ('candidate', 'active', 'retired')),
            reasons TEXT NOT NULL DEFAULT '[]',
            created_at INTEGER NOT NULL,
            UNIQUE (owner, id)
        )"""
    )
    connection.execute("CREATE INDEX adapters_by_voice ON adapters (owner, voice, seq)")
    connection.execute(
        """
        CREATE TABLE voices (
            owner TEXT NOT NULL,
            name TEXT NOT NULL,
            active TEXT,
            previous TEXT,
            created_at INTEGER NOT NULL,
            updated_at INTEGER NOT NULL,
            PRIMARY KEY (owner, name),
            FOREIGN KEY (owner, active) REFERENCES adapters (owner, id),
            FOREIGN KEY (owner, previous) REFERENCES adapters (owner, id)
        ) WITHOUT ROWID"""
    )


def m004_create_turns(connection: Connection) -> None:
    """Answered requests, as sent."""
    connection.execute(
        f"""
        CREATE TABLE turns (
            {_SEQ},
            id TEXT NOT NULL UNIQUE,
            owner TEXT NOT NULL,
            created_at INTEGER NOT NULL,
            model TEXT NOT NULL,
            adapter TEXT,
            embedder TEXT,
            stores TEXT NOT NULL DEFAULT '[]',
            messages TEXT,
            hits TEXT,
            answer TEXT,
            usage TEXT NOT NULL DEFAULT '{{}}'
        )"""
    )
    connection.execute("CREATE INDEX turns_by_time ON turns (created_at)")


def m005_create_splits(connection: Connection) -> None:
    """Which split each question of a voice's examples belongs to, for ever."""
    connection.execute(
        """
        CREATE TABLE splits (
            owner TEXT NOT NULL,
            voice TEXT NOT NULL,
            question TEXT NOT NULL,
            split TEXT NOT NULL CHECK (split IN ('train', 'dev', 'gate')),
            PRIMARY KEY (owner, voice, question)
        ) WITHOUT ROWID"""
    )


def m006_create_feedback(connection: Connection) -> None:
    """Ratings and edits of answered turns, and which version of a voice spoke from when on.

    A turn's `messages` are the built prompt; `conversation` is what the user gave.
    """
    connection.execute("ALTER TABLE turns ADD COLUMN conversation TEXT")
    connection.execute(
        f"""
        CREATE TABLE feedback (
            {_SEQ},
            id TEXT NOT NULL UNIQUE,
            owner TEXT NOT NULL,
            turn_id TEXT NOT NULL,
            voice TEXT,
            model TEXT NOT NULL,
            adapter TEXT,
            conversation TEXT NOT NULL,
            answer TEXT NOT NULL,
            cited INTEGER NOT NULL,
            rating TEXT NOT NULL CHECK (rating IN ('up', 'down')),
            edited TEXT,
            comment TEXT,
            status TEXT NOT NULL CHECK (status IN ('pending', 'approved', 'rejected')),
            job_id TEXT,
            created_at INTEGER NOT NULL,
            reviewed_at INTEGER,
            UNIQUE (owner, turn_id)
        )"""
    )
    connection.execute("CREATE INDEX feedback_by_voice ON feedback (owner, voice, status, seq)")
    connection.execute(
        f"""
        CREATE TABLE activations (
            {_SEQ},
            owner TEXT NOT NULL,
            voice TEXT NOT NULL,
            version TEXT NOT NULL,
            how TEXT NOT NULL CHECK (how IN ('gate', 'hand', 'rollback')),
            forced INTEGER NOT NULL DEFAULT 0,
            created_at INTEGER NOT NULL
        )"""
    )
    connection.execute("CREATE INDEX activations_by_voice ON activations (owner, voice, seq)")
    # Of what was activated before, only two versions are known, and not how.
    for column in ("previous", "active"):
        connection.execute(
            "INSERT INTO activations (owner, voice, version, how, created_at) "
            f"SELECT owner, name, {column}, 'gate', updated_at FROM voices "
            f"WHERE {column} IS NOT NULL"
        )


def m007_create_evaluations(connection: Connection) -> None:
    """Evaluations: what was asked, how far it has come, and the verdict."""
    connection.execute(
        f"""
        CREATE TABLE evaluations (
            {_SEQ},
            id TEXT NOT NULL UNIQUE,
            owner TEXT NOT NULL,
            status TEXT NOT NULL CHECK (status IN
                ('queued', 'running', 'succeeded', 'failed', 'cancelled')),
            request TEXT NOT NULL,
            progress TEXT NOT NULL DEFAULT '{{}}',
            result TEXT,
            error TEXT,
            created_at INTEGER NOT NULL,
            started_at INTEGER,
            finished_at INTEGER
        )"""
    )
    connection.execute("CREATE INDEX evaluations_by_status ON evaluations (status, seq)")


def m008_create_search_splits(connection: Connection) -> None:
    """Which split each topic or document of a store's questions belongs to, for ever."""
    connection.execute(
        """
        CREATE TABLE search_splits (
            store_id TEXT NOT NULL,
            name TEXT NOT NULL,
            split TEXT NOT NULL CHECK (split IN ('train', 'dev', 'gate')),
            PRIMARY KEY (store_id, name)
        ) WITHOUT ROWID"""
    )


def m009_add_policies_of_turns(connection: Connection) -> None:
    """How a draft was grounded, and what that changed."""
    connection.execute("ALTER TABLE turns ADD COLUMN policy TEXT NOT NULL DEFAULT 'off'")
    connection.execute("ALTER TABLE turns ADD COLUMN changes TEXT")


def m010_create_responses(connection: Connection) -> None:
    """Responses that can be fetched and built upon; and how a turn ended."""
    connection.execute("ALTER TABLE turns ADD COLUMN status TEXT NOT NULL DEFAULT 'completed'")
    connection.execute(
        f"""
        CREATE TABLE responses (
            {_SEQ},
            id TEXT NOT NULL UNIQUE,
            owner TEXT NOT NULL,
            created_at INTEGER NOT NULL,
            body TEXT NOT NULL,
            given TEXT NOT NULL,
            talk TEXT NOT NULL
        )"""
    )
    connection.execute("CREATE INDEX responses_by_time ON responses (created_at)")


def m011_create_chains(connection: Connection) -> None:
    """Chains: steps under one name, as they were given."""
    connection.execute(
        f"""
        CREATE TABLE chains (
            {_SEQ},
            name TEXT NOT NULL,
            owner TEXT NOT NULL,
            created_at INTEGER NOT NULL,
            steps TEXT NOT NULL,
            UNIQUE (owner, name)
        )"""
    )


def m012_add_citations_of_turns(connection: Connection) -> None:
    """What an answer cites, in its order, and the numbers of those that were opened."""
    connection.execute("ALTER TABLE turns ADD COLUMN citations TEXT")
    connection.execute("ALTER TABLE turns ADD COLUMN opened TEXT")
    connection.execute(
        "CREATE INDEX turns_opened ON turns (owner, created_at) WHERE opened IS NOT NULL"
    )
    connection.execute("ALTER TABLE feedback ADD COLUMN citations TEXT")


MIGRATIONS = [
    m001_create_files,
    m002_create_jobs,
    m003_create_voices,
    m004_create_turns,
    m005_create_splits,
    m006_create_feedback,
    m007_create_evaluations,
    m008_create_search_splits,
    m009_add_policies_of_turns,
    m010_create_responses,
    m011_create_chains,
    m012_add_citations_of_turns,
]
