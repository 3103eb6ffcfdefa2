"""Escapes text of unknown origin: test ids, and files that anybody may have written.

The result contains no markup, no escape sequence, no mention, no formula and no line break.
"""

from __future__ import annotations

import html
import re

# Within a line none of these starts emphasis, a link, code, a cell, a tag, a mention or an emoji.
MARKDOWN_HARMLESS = " .,;%()=+-/"
# Substitutes for the signs of the tables, for an encoding that lacks them.
IN_ASCII = str.maketrans(
    dict(zip("µ→≥…×±✗✓█░", ("u", "->", ">=", "...", "x", "+-", "x", "+", "#", "-"), strict=True))
)


def plain(text: str) -> str:
    """With all that is not printable escaped: line breaks, escape sequences, bidi controls."""
    if text.isprintable():
        return text
    return "".join(char if char.isprintable() else ascii(char)[1:-1] for char in text)


def in_markdown(text: str) -> str:
    """Text that Markdown and HTML show as it is; characters of markup become references."""
    escaped = "".join(
        char if char.isalnum() or char in MARKDOWN_HARMLESS else f"&#{ord(char)};"
        for char in plain(text)
    )
    return re.sub("(?i)(?<=www)[.]", "&#46;", escaped)  # GitHub makes a link of www.anything


def in_html(text: str) -> str:
    """Text that HTML shows as it is, in an element or a quoted attribute."""
    return html.escape(plain(text))


def encodable(text: str, encoding: str | None) -> str:
    """The text in the characters of ``encoding``; others in ASCII or as a backslash escape.

    pytest escapes a whole text, line breaks and all, if one of its characters cannot be encoded.

    >>> encodable("12 µJ → 🔥", "ascii")
    '12 uJ -> \\\\U0001f525'
    """
    encoding = encoding or "utf-8"
    try:
        text.encode(encoding)
    except UnicodeEncodeError:
        text = text.translate(IN_ASCII)
        return text.encode(encoding, "backslashreplace").decode(encoding)
    return text
