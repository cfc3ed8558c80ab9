"""Markdown to text: the words as they read, with the places of the headings. Pure.

Marks that only matter to a renderer are dropped (front matter, comments, template tags, link
targets, bold), because they cost a passage's budget and mean nothing to a search. Lists,
tables and code stay as they are written.
"""

from __future__ import annotations

import re

from retrieval.records import Text

_FRONT_MATTER = re.compile(r"\A---[ \t]*\n(.*?)\n---[ \t]*(?:\n|\Z)", re.DOTALL)
_TITLE = re.compile(r"^title:[ \t]*[\"']?(.+?)[\"']?[ \t]*$", re.MULTILINE)
_COMMENT = re.compile(r"<!--.*?-->", re.DOTALL)
_IMAGE_OR_LINK = re.compile(r"!?\[([^\[\]]*)\]\((?:[^()\n]|\([^()\n]*\))*\)")
_NAMED_LINK = re.compile(r"\[([^\[\]]+)\]\[[^\[\]\n]*\]")
_LINK_TARGET = re.compile(r"^[ ]{0,3}\[[^\]\n]+\]:[ \t]*\S+.*$", re.MULTILINE)
_TAG_WITH_WORD = re.compile(r"\{%-?\s*\w+\s+\"([^\"\n]*)\"\s*-?%\}")
_TAG = re.compile(r"\{%.*?%\}|\{\{.*?\}\}", re.DOTALL)
_BOLD = re.compile(r"(\*\*|__)(?=\S)(.+?)(?<=\S)\1")
_HTML_TAG = re.compile(r"</?[a-zA-Z][^<>\n]*>")
_HEADING = re.compile(r"[ ]{0,3}#{1,6}[ \t]+(.*?)[ \t]*#*[ \t]*$")
_UNDERLINE = re.compile(r"[ ]{0,3}(?:={3,}|-{3,})[ \t]*$")
_TABLE_RULE = re.compile(r"[ ]{0,3}\|?[ \t]*:?-{2,}:?[ \t]*(?:\|[ \t]*:?-{2,}:?[ \t]*)*\|?[ \t]*$")
_FENCE = re.compile(r"[ ]{0,3}(```|~~~)")


def read_markdown(source: str, *, media_type: str = "text/markdown") -> Text:
    """Return the text and its headings; a title in the front matter is the first heading."""
    title, body = _front_matter(source)
    lines: list[str] = []
    headings: list[tuple[int, str]] = []
    length = 0
    if title:
        headings.append((0, title))
        lines += [title, ""]
        length = len(title) + 2
    fenced = False
    for line, is_heading in _lines(_plain(body)):
        if _FENCE.match(line):
            fenced = not fenced
        if is_heading and not fenced and line.strip():
            headings.append((length, line.strip()))
        lines.append(line)
        length += len(line) + 1
    text = "\n".join(lines)
    return Text(text.rstrip(), headings=tuple(headings), media_type=media_type)


def _front_matter(source: str) -> tuple[str, str]:
    found = _FRONT_MATTER.match(source)
    if not found:
        return "", source.lstrip("\n")
    title = _TITLE.search(found[1])
    return (title[1].strip() if title else ""), source[found.end() :].lstrip("\n")


def _plain(body: str) -> str:
    """Drop the marks outside fenced code."""
    parts = re.split(
        r"(^[ ]{0,3}(?:```|~~~).*?^[ ]{0,3}(?:```|~~~)[ \t]*$)", body, flags=re.M | re.S
    )
    for index in range(0, len(parts), 2):
        part = _COMMENT.sub("", parts[index])
        part = _TAG_WITH_WORD.sub(r"\1", part) if "{%" in part else part
        part = _IMAGE_OR_LINK.sub(r"\1", _IMAGE_OR_LINK.sub(r"\1", part))
        part = _LINK_TARGET.sub("", _NAMED_LINK.sub(r"\1", part))
        parts[index] = _HTML_TAG.sub("", _BOLD.sub(r"\2", _TAG.sub("", part)))
    return "".join(parts)


def _lines(body: str) -> list[tuple[str, bool]]:
    """(line, whether it is a heading), without heading marks and table rules."""
    result: list[tuple[str, bool]] = []
    fenced = False
    for line in body.split("\n"):
        fenced ^= bool(_FENCE.match(line))
        previous = result[-1][0] if result else ""
        if fenced:
            result.append((line, False))
        elif found := _HEADING.match(line):
            result.append((found[1], True))
        elif _UNDERLINE.match(line) and previous.strip() and not previous.lstrip().startswith("|"):
            result[-1] = (previous, True)
        elif not _TABLE_RULE.match(line) or "|" not in line:
            result.append((line.rstrip(), False))
    return result
