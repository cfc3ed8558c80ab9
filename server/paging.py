"""One way to read a page of rows by cursor, for every list of the API."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from retrieval.database import Connection, Row
from server.errors import ApiError
from server.records import Page, Window

T = TypeVar("T")


def read_page(
    connection: Connection,
    window: Window,
    convert: Callable[[Row], T],
    *,
    table: str,
    where: str,
    parameters: Sequence[Any],
    key: str = "id",
) -> Page[T]:
    """Read the rows of `table` that meet `where`, in the order of `seq`, from the cursor on.

    `key` is the column that cursors name. A cursor that is not in the list is a 400.
    """
    backwards = window.before is not None and window.after is None
    ascending = (window.order == "asc") != backwards
    conditions, values = [where], list(parameters)
    for name, cursor, towards_end in (
        ("after", window.after, True),
        ("before", window.before, False),
    ):
        if cursor is None:
            continue
        row = connection.execute(
            f"SELECT seq FROM {table} WHERE {where} AND {key} = ?", (*parameters, cursor)
        ).fetchone()
        if row is None:
            raise ApiError(
                400, f"No item '{cursor}' in this list.", param=name, code="invalid_cursor"
            )
        later = (window.order == "asc") == towards_end
        conditions.append(f"seq {'>' if later else '<'} ?")
        values.append(row["seq"])
    rows = connection.execute(
        f"SELECT * FROM {table} WHERE {' AND '.join(conditions)} "
        f"ORDER BY seq {'ASC' if ascending else 'DESC'} LIMIT ?",
        (*values, window.limit + 1),
    ).fetchall()
    has_more = len(rows) > window.limit
    rows = rows[: window.limit]
    return Page([convert(row) for row in (reversed(rows) if backwards else rows)], has_more)


def paginate(items: Sequence[T], window: Window, id_of: Callable[[T], str]) -> Page[T]:
    """The same for a short list in memory, given from the oldest to the newest."""
    ordered = list(items) if window.order == "asc" else list(reversed(items))
    ids = [id_of(item) for item in ordered]
    start, end = 0, len(ordered)
    for name, cursor in (("after", window.after), ("before", window.before)):
        if cursor is None:
            continue
        if cursor not in ids:
            raise ApiError(
                400, f"No item '{cursor}' in this list.", param=name, code="invalid_cursor"
            )
        if name == "after":
            start = ids.index(cursor) + 1
        else:
            end = ids.index(cursor)
    part = ordered[start:end]
    if window.before is not None and window.after is None:
        return Page(part[-window.limit :], len(part) > window.limit)
    return Page(part[: window.limit], len(part) > window.limit)
