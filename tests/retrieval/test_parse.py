from __future__ import annotations

import io
import zipfile
from pathlib import Path

import docx
import pytest

from retrieval import formats
from retrieval.errors import (
    HousewordRetrievalError,
    InvalidFile,
    ParseTimeout,
    UnsupportedFile,
)
from retrieval.markdown import read_markdown
from retrieval.parse import Parser
from retrieval.pdf import reflow
from retrieval.records import Text


def headings(text: Text) -> list[str]:
    for at, words in text.headings:
        assert text.text[at:].startswith(words)
    return [words for _, words in text.headings]


def small_pdf(*pages: str) -> bytes:
    """A PDF with one line of text on each page, and a cross-reference table that is left out."""
    objects = ["<</Type/Catalog/Pages 2 0 R>>"]
    kids = " ".join(f"{4 + 2 * number} 0 R" for number in range(len(pages)))
    objects.append(f"<</Type/Pages/Kids[{kids}]/Count {len(pages)}>>")
    objects.append("<</Type/Font/Subtype/Type1/BaseFont/Helvetica>>")
    for number, words in enumerate(pages):
        content = f"BT /F1 12 Tf 72 720 Td ({words}) Tj ET" if words else ""
        objects.append(
            "<</Type/Page/Parent 2 0 R/MediaBox[0 0 612 792]/Resources<</Font<</F1 3 0 R>>>>"
            f"/Contents {5 + 2 * number} 0 R>>"
        )
        objects.append(f"<</Length {len(content)}>>stream\n{content}\nendstream")
    body, offsets = b"%PDF-1.4\n", []
    for number, written in enumerate(objects, start=1):
        offsets.append(len(body))
        body += f"{number} 0 obj\n{written}\nendobj\n".encode()
    table = "".join(f"{offset:010d} 00000 n \n" for offset in offsets)
    size = len(objects) + 1
    end = f"trailer<</Size {size}/Root 1 0 R>>\nstartxref\n{len(body)}\n%%EOF"
    return body + f"xref\n0 {size}\n0000000000 65535 f \n{table}{end}".encode()


def small_docx() -> bytes:
    document = docx.Document()
    document.add_heading("Rental terms", level=1)
    document.add_paragraph("Tents are rented by the week.")
    table = document.add_table(rows=2, cols=2)
    for cell, words in zip(table._cells, ["Item", "Price", "Tent", "$40"], strict=True):
        cell.text = words
    document.add_paragraph("After the table.")
    content = io.BytesIO()
    document.save(content)
    return content.getvalue()


# -- through the child process


def test_pages_of_a_pdf_begin_where_their_text_does(parser: Parser) -> None:
    text = parser.parse(small_pdf("First page", "Second page"), "x.txt")
    assert text.media_type == "application/pdf"
    assert [(text.text[at:].split("\n")[0], page) for at, page in text.pages] == [
        ("First page", 1),
        ("Second page", 2),
    ]


def test_a_docx_keeps_headings_and_tables_in_order(parser: Parser) -> None:
    text = parser.parse(small_docx(), "terms.docx")
    assert headings(text) == ["Rental terms"]
    assert text.text.split("\n\n") == [
        "Rental terms",
        "Tents are rented by the week.",
        "Item: Tent; Price: $40",
        "After the table.",
    ]


@pytest.mark.parametrize(
    ("data", "name", "error", "words"),
    [
        (b"", "x.pdf", InvalidFile, "empty"),
        (b" \n", "x.txt", InvalidFile, "empty"),
        (small_pdf("words")[:300], "x.pdf", InvalidFile, "damaged"),
        (small_pdf(""), "x.pdf", InvalidFile, "OCR"),
        (small_docx()[:2000], "x.docx", InvalidFile, "damaged or truncated"),
        (bytes(range(256)) * 4, "x.pdf", InvalidFile, "not a PDF file"),
        (bytes(range(256)) * 4, "notes.txt", UnsupportedFile, "neither text"),
        (b"\x89PNG\r\n\x1a\n" + bytes(90), "x.md", UnsupportedFile, "PNG image"),
        (b"{\\rtf1 hello}", "x.txt", UnsupportedFile, "save it as DOCX"),
        (b"\xd0\xcf\x11\xe0" + bytes(600), "x.doc", UnsupportedFile, "old Office"),
        (b"<html><script>x()</script></html>", "x.html", InvalidFile, "no text"),
    ],
)
def test_a_file_that_cannot_be_read_is_refused_in_words(
    parser: Parser, data: bytes, name: str, error: type[Exception], words: str
) -> None:
    with pytest.raises(error, match=words):
        parser.parse(data, name)


def test_a_zip_that_is_no_docx_is_unsupported_and_a_bomb_is_refused(parser: Parser) -> None:
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as written:
        written.writestr("xl/workbook.xml", "x")
    with pytest.raises(UnsupportedFile, match="Excel"):
        parser.parse(archive.getvalue(), "x.docx")
    bomb = io.BytesIO()
    with zipfile.ZipFile(bomb, "w", zipfile.ZIP_DEFLATED) as written:
        with written.open("word/document.xml", "w", force_zip64=True) as member:
            for _ in range(500):
                member.write(bytes(1_000_000))
    with pytest.raises(InvalidFile, match="unpacks to more than"):
        parser.parse(bomb.getvalue(), "x.docx")


def test_a_parser_past_its_time_is_killed_and_the_next_file_is_read() -> None:
    parser = Parser(timeout_seconds=0.001)
    with pytest.raises(ParseTimeout, match="longer than"):
        parser.parse(small_pdf("words"), "x.pdf")
    parser._timeout_seconds = 30
    assert parser.parse(b"fine", "x.txt").text == "fine"
    parser.close()


def test_a_parser_past_its_memory_dies_alone() -> None:
    parser = Parser(memory_bytes=220_000_000)
    with pytest.raises(ParseTimeout, match="memory"):
        parser.parse(b"word " * 40_000_000, "x.txt")
    assert parser.parse(b"fine", "x.txt").text == "fine"
    parser.close()


def test_the_child_is_renewed_and_closed() -> None:
    parser = Parser(renew_after=1)
    parser.parse(b"one", "x.txt")
    first = parser._child
    parser.parse(b"two", "x.txt")
    assert first is not None and first.poll() is not None and parser._child is not first
    parser.close()
    parser.close()
    assert parser._child is None


# -- the formats


def test_a_text_file_named_pdf_is_read_as_text() -> None:
    assert formats.read(b"just words", "x.pdf").text == "just words"


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "cp1252", "shift_jis"])
def test_encodings_are_recognised(encoding: str) -> None:
    words = (
        "東京の人口は多い。大阪も大きい都市です。"
        if encoding == "shift_jis"
        else "Café déjà vu, naïve façade"
    )
    assert formats.read(words.encode(encoding), "x.txt").text == words


def test_each_csv_row_stands_alone() -> None:
    text = formats.read(b"code;price;note\nA1;$5;\nB2;$6;new", "prices.csv").text
    assert text == "code: A1; price: $5\n\ncode: B2; price: $6; note: new"


def test_html_keeps_headings_and_drops_scripts() -> None:
    page = (
        "<!doctype html><html><body><h1>Lamps</h1><p>The lamp costs $40 and lasts for years of "
        "daily rides in rain.</p><h2>Battery</h2><p>The battery is charged by USB within two "
        "hours.</p><script>alert(1)</script></body></html>"
    )
    text = formats.read(page.encode(), "lamps.txt")
    assert headings(text) == ["Lamps", "Battery"]
    assert "alert" not in text.text and "two hours" in text.text


def test_html_that_has_no_article_is_read_whole() -> None:
    assert formats.read(b"<html><body>Hi <b>you</b></body></html>", "x.html").text == "Hi you"


def test_markdown_keeps_words_and_drops_marks() -> None:
    text = read_markdown(
        '---\ntitle: "Sick leave"\n---\n## How to **ask** ##\nSee [the form](http://x/y_(z)) in '
        '{% slack_channel "people-ops" %}.{% include x %}<!-- no -->\n\nUnder\n-----\n```\n# code '
        "{% raw %}\n```\n| a | b |\n|---|---|\n| 1 | 2 |\n"
    )
    assert headings(text) == ["Sick leave", "How to ask", "Under"]
    assert "See the form in people-ops." in text.text
    assert "# code {% raw %}" in text.text
    assert "| a | b |\n| 1 | 2 |" in text.text


def test_lines_of_a_page_are_joined_again() -> None:
    lines = [
        "2. Working hours",
        "The standard week at the company is 32 hours and most of the staff work it in four",
        "days of eight hours. Nobody may work lon-",
        "ger than that.",
        "- a list item",
    ]
    assert reflow(lines, ["2. Working hours"]).split("\n") == [
        "2. Working hours",
        "The standard week at the company is 32 hours and most of the staff work it in four days "
        "of eight hours. Nobody may work longer than that.",
        "- a list item",
    ]


# -- files by others


EXPECTED_ERRORS = {
    "aes-256-r6.pdf": "encrypted",
    "archive-of-files.zip": "ZIP",
    "book.epub": "EPUB",
    "empty.pdf": "empty",
    "grayscale-image-only.pdf": "OCR",
    "outlook.msg": "Outlook",
    "password-libreoffice.pdf": "encrypted",
    "random.bin": "neither text",
    "rc4-40.pdf": "encrypted",
    "tiff-predictor.pdf": "OCR",
    "truncated-multicolumn.pdf": "truncated",
}


def test_every_mixed_file_is_read_or_refused_in_words(parser: Parser, shared_data: Path) -> None:
    for path in sorted(shared_data.glob("documents/mixed/*/*")):
        try:
            text = parser.parse(path.read_bytes(), path.name)
        except HousewordRetrievalError as error:
            unread = path.suffix in (".xlsx", ".pptx", ".odt")
            assert unread or EXPECTED_ERRORS[path.name] in str(error), (path.name, str(error))
            continue
        assert path.name not in EXPECTED_ERRORS, path.name
        assert text.text.strip(), path.name
        assert all(0 <= at <= len(text.text) for at, _ in text.pages + text.headings), path.name
