"""PDF bytes to text: pages with their numbers, lines joined again, headings where they show.

Runs in the child process of `parse.py`. A PDF has no paragraphs, only lines at places: what is
done about it is in `reflow`. Images are not read.
"""

from __future__ import annotations

import io
import itertools
import re
import unicodedata
from collections import Counter
from typing import Any

from retrieval.errors import InvalidFile
from retrieval.records import Text
from retrieval.writer import TextWriter, clean

_NUMBERED_TITLE = re.compile(r"\d{1,2}(?:\.\d{1,2})*\.?\s+[^\W\d_].{2,70}$")
_ITEM = re.compile(r"[-•*▪◦‣]|\(?\d{1,3}[.)]\s")
# A line this close to the top or bottom of most pages is a running title.
_EDGE_LINES = 2


def read_pdf(data: bytes) -> Text:
    """Return the pages' text; headings come from the outline, else from numbered titles."""
    from pypdf import PdfReader
    from pypdf.errors import PdfReadError

    try:
        reader = PdfReader(io.BytesIO(data), strict=False)
        if reader.is_encrypted and not reader.decrypt(""):
            raise InvalidFile("the file is encrypted: remove its password and upload it again")
        pages = [_lines_of(page) for page in reader.pages]
    except PdfReadError as error:
        raise InvalidFile(f"the PDF is damaged or truncated: upload it again ({error})") from error
    if not pages:
        raise InvalidFile("the PDF has no pages: it is damaged or truncated; upload it again")
    if not any(map(any, pages)):
        raise InvalidFile(
            f"no text in {len(pages)} page(s): the PDF holds only images and needs OCR "
            "(text recognition) before it is uploaded"
        )
    outline = _outline_titles(reader)
    running = _running_lines(pages)
    writer = TextWriter()
    for number, lines in enumerate(pages, start=1):
        writer.page(number)
        kept = [line for line in lines if _anonymous(line) not in running] or lines
        titles = outline.get(number - 1, []) if outline else _numbered_titles(kept)
        writer.add_with_headings(reflow(kept, titles), titles)
    return writer.text("application/pdf")


def reflow(lines: list[str], titles: list[str]) -> str:
    """Join the lines that the page's width broke, and the words that a hyphen broke."""
    width = sorted(map(len, lines))[int(len(lines) * 0.9)] if lines else 0
    joined = ""
    before = ""
    for line in lines:
        full = len(before) >= 0.6 * width and before[-1:] not in (".", "!", "?", ":", ";")
        if not line or not before or line in titles or before in titles:
            joined += f"\n{line}"
        elif re.search(r"[a-zà-ÿ]-$", before) and line[0].islower():
            joined = joined[:-1] + line
        elif line[0].islower() or (full and not _ITEM.match(line)):
            joined += f" {line}"
        else:
            joined += f"\n{line}"
        before = line
    return joined.strip()


def _lines_of(page: Any) -> list[str]:
    text = clean(page.extract_text() or "")
    # Ligatures are a matter of type: "ﬁ" is searched for as "fi".
    text = re.sub("[\ufb00-\ufb06]", lambda match: unicodedata.normalize("NFKC", match[0]), text)
    return [" ".join(line.split()) for line in text.strip().split("\n")]


def _running_lines(pages: list[list[str]]) -> set[str]:
    """Lines that stand at the edge of most pages, whatever their page number."""
    if len(pages) < 2:
        return set()
    seen = Counter(
        line
        for lines in pages
        for line in {_anonymous(line) for line in lines[:_EDGE_LINES] + lines[-_EDGE_LINES:]}
        if line
    )
    return {line for line, count in seen.items() if count > 0.6 * len(pages)}


def _anonymous(line: str) -> str:
    return re.sub(r"\d+", "#", line)


def _numbered_titles(lines: list[str]) -> list[str]:
    """Lines like "3. Working hours": short, numbered, without an end mark, above a longer one."""
    return [
        line
        for line, below in itertools.pairwise(lines)
        if _NUMBERED_TITLE.match(line) and line[-1] not in ".,;:!?" and len(below) > len(line)
    ]


def _outline_titles(reader: Any) -> dict[int, list[str]]:
    titles: dict[int, list[str]] = {}

    def collect(entries: list[Any]) -> None:
        for entry in entries:
            if isinstance(entry, list):
                collect(entry)
                continue
            page = reader.get_destination_page_number(entry)
            if page is not None and entry.title:
                titles.setdefault(page, []).append(" ".join(str(entry.title).split()))

    try:
        collect(reader.outline)
    except Exception:  # a broken outline is no reason to refuse the text
        return {}
    return titles
