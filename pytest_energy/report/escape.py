"""Text of unknown origin made harmless: names come from test ids and files that anybody may have written.

None of it is let through as markup, as a terminal's escape sequence, as a mention, or as a break of the line.
"""

from __future__ import annotations

import re

# Within a line none of these starts anything: no emphasis, link, code, cell, tag, mention, reference or emoji.
MARKDOWN_HARMLESS = " .,;%()=+-/"
# What our own tables say, for a terminal or a log whose encoding is ASCII or a code page of Windows.
IN_ASCII = str.maketrans({"µ": "u", "→": "->", "≥": ">=", "…": "...", "×": "x"})


def plain(text: str) -> str:
    """With whatever is not printable written out: no line breaks, no escape sequences."""
    if text.isprintable():
        return text
    return "".join(char if char.isprintable() else ascii(char)[1:-1] for char in text)


def in_markdown(text: str) -> str:
    """Text that Markdown and HTML take for nothing but text: what could be markup becomes character references."""
    escaped = "".join(
        char if char.isalnum() or char in MARKDOWN_HARMLESS else f"&#{ord(char)};"
        for char in plain(text)
    )
    return re.sub("(?i)(?<=www)[.]", "&#46;", escaped)  # GitHub makes a link of www.anything


def encodable(text: str, encoding: str | None) -> str:
    """The text as far as ``encoding`` has its characters; what it has not in ASCII or, last, as a backslash escape.

    pytest writes a whole text as escapes, line breaks and all, where one character of it cannot be encoded.

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
