"""Plain text: tables, and words from outside."""

from collections.abc import Sequence


def aligned(lines: Sequence[Sequence[str]], names: int = 1) -> str:
    """Cells in columns, two spaces apart, one line of text for each of `lines`.

    Args:
        lines: of equally many cells; the first is the header.
        names: so many columns begin at the left; the others, numbers, end at the right.
    """
    lines = [[printable(cell) for cell in line] for line in lines]
    widths = [max(map(len, column)) for column in zip(*lines)]
    adjust = [str.ljust] * names + [str.rjust] * (len(widths) - names)
    return "\n".join("  ".join(f(cell, width) for f, cell, width in zip(adjust, line, widths)).rstrip() for line in lines)


def printable(text: str) -> str:
    """Text with escapes in place of all that is not shown as a letter: the names of files and classes may hold bytes that are
    no UTF-8, new lines, and what tells a terminal to do something."""
    return "".join(letter if letter.isprintable() else letter.encode("unicode_escape").decode() for letter in text)
