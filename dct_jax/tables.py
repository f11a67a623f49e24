"""Tables of plain text."""

from collections.abc import Sequence


def aligned(lines: Sequence[Sequence[str]], names: int = 1) -> str:
    """Cells in columns, two spaces apart, one line of text for each of `lines`.

    Args:
        lines: of equally many cells; the first is the header.
        names: so many columns begin at the left; the others, numbers, end at the right.
    """
    widths = [max(map(len, column)) for column in zip(*lines)]
    adjust = [str.ljust] * names + [str.rjust] * (len(widths) - names)
    return "\n".join("  ".join(f(cell, width) for f, cell, width in zip(adjust, line, widths)).rstrip() for line in lines)
