"""Plain text: tables, and words from outside."""

from collections.abc import Sequence


def align(lines: Sequence[Sequence[str]], names: int = 1) -> str:
    """Writes cells in columns, two spaces apart, and a line of text for each of `lines`.

    Args:
        lines: of equally many cells; the first is the header.
        names: how many columns begin at the left; the others, numbers, end at the right.
    """
    lines = [[printable(cell) for cell in line] for line in lines]
    widths = [max(map(len, column)) for column in zip(*lines)]
    adjust = [str.ljust] * names + [str.rjust] * (len(widths) - names)
    return "\n".join("  ".join(f(cell, width) for f, cell, width in zip(adjust, line, widths)).rstrip() for line in lines)


def printable(text: str) -> str:
    """Returns text with escapes in place of what is not printable. Names of files and classes may
    hold bytes that are no UTF-8, new lines, and commands to a terminal."""
    return "".join(letter if letter.isprintable() else letter.encode("unicode_escape").decode() for letter in text)


def first_line(error: BaseException, most: int | None = 200) -> str:
    """Returns the first line of what an error says, cut off after so many characters; the error's
    type if it says nothing."""
    return (str(error).strip() or type(error).__name__).splitlines()[0][:most]


def say_pictures(number: int, different: int, what: str = "pictures") -> str:
    """Says how many pictures a set has, such as "9 pictures", or "9 crops of 4 pictures"."""
    return f"{number} {what}" if different == number else f"{number} crops of {different} {what}"
