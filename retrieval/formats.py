"""File bytes to text: which type a file is, and a reader for each.

Runs in the child process of `parse.py`, which holds the limits; nothing here is safe to run on
a stranger's file in the server's own process. The content decides the type before the name
does. Read `read` first; every reader returns a `Text` whose offsets fit its text.
"""

from __future__ import annotations

import csv
import io
import re
import unicodedata
import zipfile
from collections.abc import Callable, Iterable, Iterator
from pathlib import PurePath
from typing import Any

from retrieval.errors import InvalidFile, UnsupportedFile
from retrieval.markdown import read_markdown
from retrieval.pdf import read_pdf
from retrieval.records import Text
from retrieval.writer import TextWriter, clean

SUPPORTED = "PDF, DOCX, HTML, Markdown, CSV and plain text (also JSON, YAML and source code)"
DOCX = "application/vnd.openxmlformats-officedocument.wordprocessingml.document"
MAX_UNZIPPED_BYTES = 400_000_000
_MAX_STRANGE_SHARE = 0.02
_ZIP_KINDS = {
    "xl/workbook.xml": "an Excel workbook: save its sheets as CSV",
    "ppt/presentation.xml": "a PowerPoint file: export it as PDF",
    "mimetype": "an OpenDocument or EPUB file: export it as DOCX or PDF",
}
_SIGNATURES = {
    b"\x89PNG": "a PNG image",
    b"\xff\xd8\xff": "a JPEG image",
    b"GIF8": "a GIF image",
    b"II*\0": "a TIFF image",
    b"MM\0*": "a TIFF image",
    b"\x1f\x8b": "a gzip archive",
    b"{\\rtf": "an RTF file: save it as DOCX",
    b"%!PS": "a PostScript file: convert it to PDF",
}


def read(data: bytes, filename: str) -> Text:
    """Return what the file says; raises `UnsupportedFile` or `InvalidFile` in words."""
    if not data.strip():
        raise InvalidFile("the file is empty")
    reader = _reader_of(data, PurePath(filename).suffix.lower())
    text = reader(data)
    if not text.text.strip():
        raise InvalidFile("the file holds no text")
    return text


def _reader_of(data: bytes, suffix: str) -> Callable[[bytes], Text]:
    start = data[:1024]
    if b"%PDF-" in start:
        return read_pdf
    if start.startswith(b"PK\x03\x04"):
        return read_docx
    if start.startswith(b"\xd0\xcf\x11\xe0"):
        if "EncryptedPackage".encode("utf-16-le") in data:
            raise InvalidFile("the file is encrypted: remove its password and upload it again")
        raise UnsupportedFile(f"old Office and Outlook files are not read; {_instead()}")
    for signature, kind in _SIGNATURES.items():
        if start.startswith(signature):
            raise UnsupportedFile(f"this is {kind}; {_instead()}")
    if suffix in (".pdf", ".docx") and _decoded(data) is None:
        kind = suffix[1:].upper()
        raise InvalidFile(f"the file is damaged: it is named {suffix} but is not a {kind} file")
    if suffix in (".html", ".htm", ".xhtml") or re.match(
        rb"\s*(?:<!--.*?-->\s*)?<(?:!doctype html|html)\b", start, re.IGNORECASE | re.DOTALL
    ):
        return read_html
    if suffix in (".md", ".markdown"):
        return lambda data: read_markdown(_text_of(data))
    if suffix in (".csv", ".tsv"):
        return read_csv
    return lambda data: Text(_text_of(data).strip())


def _instead() -> str:
    return f"files that are read: {SUPPORTED}"


# -- plain text


def _text_of(data: bytes) -> str:
    text = _decoded(data)
    if text is None:
        raise UnsupportedFile(f"the file is neither text nor of a known type; {_instead()}")
    return clean(text)


def _decoded(data: bytes) -> str | None:
    """Decode by byte order mark, then as UTF-8, then by likelihood; None for binary data."""
    for mark, encoding in ((b"\xff\xfe", "utf-16"), (b"\xfe\xff", "utf-16")):
        if data.startswith(mark):
            return data.decode(encoding, errors="replace")
    if b"\0" in data:
        return None
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError:
        likely = _likely_encoding(data[:1_000_000])
        if likely is None:
            return None
        text = data.decode(likely, errors="replace")
    strange = sum(
        unicodedata.category(letter) in ("Cc", "Cn", "Co") and letter not in "\n\r\t\f\v"
        for letter in text[:100_000]
    )
    return None if strange > _MAX_STRANGE_SHARE * min(len(text), 100_000) else text


def _likely_encoding(data: bytes) -> str | None:
    """The most likely encoding; of several that fit as well, the one that is by far commonest."""
    from charset_normalizer import from_bytes

    matches = from_bytes(data)
    best = matches.best()
    if best is None:
        return None
    equal = [match.encoding for match in matches if match.chaos <= best.chaos]
    western = best.encoding.startswith(("cp125", "latin", "iso8859", "mac"))
    return "cp1252" if western and "cp1252" in equal else best.encoding


def read_csv(data: bytes) -> Text:
    """Each row becomes a paragraph `header: value; header: value`, so that it stands alone."""
    text = _text_of(data)
    csv.field_size_limit(len(text) + 1)
    try:
        dialect: Any = csv.Sniffer().sniff(text[:20_000], delimiters=",;\t|")
    except csv.Error:
        dialect = csv.excel_tab if "\t" in text[:1000] else csv.excel
    try:
        rows = [row for row in csv.reader(io.StringIO(text), dialect) if any(map(str.strip, row))]
    except csv.Error as error:
        raise InvalidFile(f"the table cannot be read: {error}") from error
    if len(rows) < 2:
        return Text(text.strip(), media_type="text/csv")
    return Text("\n\n".join(rows_as_sentences(rows)), media_type="text/csv")


def rows_as_sentences(rows: list[list[str]]) -> Iterator[str]:
    """Name each value by its column's header, in words that a reader or a model can follow."""
    header = [" ".join(name.split()) for name in rows[0]]
    for row in rows[1:]:
        cells = [" ".join(value.split()) for value in row]
        names = header + [""] * (len(cells) - len(header))
        named = [
            f"{name}: {cell}" if name else cell
            for name, cell in zip(names, cells, strict=False)
            if cell
        ]
        yield "; ".join(named)


# -- HTML


def read_html(data: bytes) -> Text:
    """Keep the page's own content (trafilatura); all of its text where that finds nothing."""
    import trafilatura

    page = _text_of(data)
    found = trafilatura.extract(
        page,
        output_format="markdown",
        include_comments=False,
        include_tables=True,
        include_links=False,
        include_images=False,
        favor_recall=True,
    )
    text = read_markdown(found or "", media_type="text/html")
    return text if text.text.strip() else _read_html_whole(page)


def _read_html_whole(page: str) -> Text:
    import lxml.html

    try:
        tree = lxml.html.document_fromstring(
            page.encode("utf-8"),
            parser=lxml.html.HTMLParser(encoding="utf-8", no_network=True, remove_comments=True),
        )
    except (ValueError, lxml.etree.ParserError):
        return Text("", media_type="text/html")
    for element in tree.xpath("//script | //style | //noscript | //template"):
        element.drop_tree()
    writer = TextWriter()
    block: list[str] = []
    inline = {"a", "b", "i", "em", "strong", "span", "code", "small", "sub", "sup", "u", "abbr"}
    for event, element in lxml.etree.iterwalk(tree, events=("start", "end")):
        if element.tag not in inline:
            writer.add(" ".join("".join(block).split()))
            block.clear()
        block.append((element.text if event == "start" else element.tail) or "")
    writer.add(" ".join("".join(block).split()))
    return writer.text("text/html")


# -- DOCX


def read_docx(data: bytes) -> Text:
    """Paragraphs, headings and tables in the order of the document."""
    import docx

    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            names = {info.filename: info.file_size for info in archive.infolist()}
    except zipfile.BadZipFile as error:
        raise InvalidFile("the file is damaged or truncated: upload it again") from error
    if "word/document.xml" not in names:
        kind = next((words for name, words in _ZIP_KINDS.items() if name in names), "a ZIP archive")
        raise UnsupportedFile(f"this is {kind}; {_instead()}")
    if sum(names.values()) > MAX_UNZIPPED_BYTES:
        megabytes = MAX_UNZIPPED_BYTES // 1_000_000
        raise InvalidFile(f"the file unpacks to more than {megabytes} MB: split it")
    try:
        document = docx.Document(io.BytesIO(data))
    except (KeyError, ValueError, zipfile.BadZipFile, SyntaxError) as error:
        raise InvalidFile(f"the file is not a readable DOCX file ({error})") from error
    writer = TextWriter()
    _write_blocks(writer, document.iter_inner_content())
    return writer.text(DOCX)


def _write_blocks(writer: TextWriter, blocks: Iterable[Any]) -> None:
    from docx.table import Table

    for block in blocks:
        if isinstance(block, Table):
            for line in _table_lines(block):
                writer.add(line)
            continue
        words = clean(block.text).strip()
        style = (block.style.name if block.style is not None else "") or ""
        if words and style.startswith(("Heading", "Title")):
            writer.heading(" ".join(words.split()))
        else:
            writer.add(f"- {words}" if words and style.startswith("List") else words)


def _table_lines(table: Any) -> Iterator[str]:
    rows: list[list[str]] = []
    for row in table.rows:
        cells, seen = [], set()
        for cell in row.cells:
            if cell._tc not in seen:  # a merged cell is listed once for each column it spans
                seen.add(cell._tc)
                inner = TextWriter()
                _write_blocks(inner, cell.iter_inner_content())
                cells.append(" ".join(inner.text("").text.split()))
        rows.append(cells)
    regular = len({len(row) for row in rows}) == 1 and len(rows) > 1 and len(rows[0]) > 1
    if regular and all(rows[0]):
        yield from rows_as_sentences(rows)
    else:
        yield from (" | ".join(filter(None, row)) for row in rows)
