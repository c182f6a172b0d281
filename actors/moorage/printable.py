"""Text from elsewhere, made fit for people: a line of a log, a refusal, a cell of a table."""

from __future__ import annotations


def printable(text: str) -> str:
    r"""Return `text` on one line, without what a terminal would obey, what hides, and what no encoding has.

    Such a character is written as Python does: `\x1b`, `\n`, `\u202e`. Text without any is returned as it is.
    """
    if text.isprintable():
        return text
    return "".join(each if each.isprintable() else repr(each)[1:-1] for each in text)


def printable_lines(text: str) -> str:
    """The same for a traceback, which has lines."""
    return "\n".join(printable(line) for line in text.split("\n"))
