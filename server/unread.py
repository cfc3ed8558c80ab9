"""Why stores hold nothing to answer from: no files yet, files still being read, or unread ones."""

from __future__ import annotations

from collections.abc import Sequence

from server.ledger import Ledger
from server.records import Window

NO_DOCUMENTS = (
    "There are no documents yet, so there is nothing to answer from. "
    "Add some with `houseword ingest PATH`, and ask again."
)
_READING = "The documents are still being read ({waiting} of {total}): ask again in a moment."
_FAILED = "No document could be read ({failed} failed), so nothing can answer. {name}: {reason}"


def why_nothing(ledger: Ledger, owner: str, stores: Sequence[str]) -> str:
    """Say why these stores hold no documents, and what helps."""
    attachments = ledger.attachments
    counts = [count for count, _ in attachments.usage(stores).values()]
    total = sum(count.total for count in counts)
    if waiting := sum(count.in_progress for count in counts):
        return _READING.format(waiting=waiting, total=total)
    if failed := sum(count.failed for count in counts):
        pages = [attachments.page(owner, store, Window(1), status="failed") for store in stores]
        first = next(page.items[0] for page in pages if page.items)
        name = ledger.file(owner, first.file_id).filename
        return _FAILED.format(failed=failed, name=name, reason=first.error_message)
    return NO_DOCUMENTS
