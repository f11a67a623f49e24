"""The bytes of JPEG files, beside those that established coders and a model make of them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from dct_jax.codec import DCTCodec, SparseDCT
from dct_jax.dct.coders import CODERS, Coder, available_coders
from dct_jax.tables import align


@dataclass(frozen=True)
class _Sizes:
    """A picture's size in pixels, and its file's in bytes.

    Attributes:
        pixels: H W.
        before: the bytes of the JPEG file as it came.
        coded: for each coder, the bytes of its file with these coefficients, or its error.
    """

    pixels: int
    before: int
    coded: tuple[int | ValueError | OSError, ...]


class SizeTable:
    """The sizes of files, which are numbered as they are measured, and of what coders make of
    them."""

    def __init__(self, coders: Sequence[Coder] = (), missing: Sequence[Coder] = ()) -> None:
        """Compares with `coders`, and names the `missing` ones, which are not installed."""
        self._coders, self._missing = coders, missing
        self._files: list[_Sizes] = []

    @classmethod
    def of_installed(cls, codec: DCTCodec) -> "SizeTable":
        """Compares with all coders that are installed and can code a codec's coefficients."""
        return cls(available_coders(codec), [coder for coder in CODERS if not coder.is_installed])

    def measure(self, jpeg: bytes, sparse: SparseDCT) -> None:
        """Codes a picture with each coder.

        Args:
            jpeg: the file as it came. Coders get no more of it than its coefficients.
            sparse: its list.
        """
        coded = tuple(_coded_bytes(coder, sparse) for coder in self._coders)
        self._files.append(_Sizes(sparse.size[0] * sparse.size[1], len(jpeg), coded))

    def lines(self, written: Mapping[int, int]) -> list[str]:
        """Returns the lines of a table of sums over all files that were written. A coder that
        failed at one of them stands below the table, with its error.

        Args:
            written: by the number of each of these files, the bytes that the model made of it. If
                there is none, there is no table.
        """
        if not written:
            return []
        files = [self._files[number] for number in written]
        rows, notes = [("JPEG files before", sum(one.before for one in files))], []
        for i, coder in enumerate(self._coders):
            coded = [one.coded[i] for one in files]
            if errors := [size for size in coded if isinstance(size, ValueError | OSError)]:
                notes.append(f"not in the table: {coder.name}, for {len(errors)} of the files ({errors[0]})")
            else:
                rows.append((coder.name, sum(size for size in coded if isinstance(size, int))))
        rows.append(("this model", sum(written.values())))
        if self._missing:
            notes.append(f"not installed: {', '.join(coder.name for coder in self._missing)}")
        return [*_table(rows, sum(one.pixels for one in files)).splitlines(), *notes]


def _coded_bytes(coder: Coder, sparse: SparseDCT) -> int | ValueError | OSError:
    """Keeps the error of a coder that fails, at a very large picture or without room for temporary
    files, say: it must stop nothing."""
    try:
        return len(coder.code(sparse.to_jpeg()))
    except (ValueError, OSError) as error:
        return error


def _table(rows: Sequence[tuple[str, int]], pixels: int) -> str:
    """Writes a line for each name and its bytes, which are compared with those of the first."""
    _, before = rows[0]
    lines = [
        (name, f"{size:,}", f"{8 * size / pixels:.3f}", f"{100 * size / before:.1f} %", f"{100 - 100 * size / before:.1f} %")
        for name, size in rows
    ]
    return align([("lossless coding of these", "bytes", "bits per pixel", "of the files before", "saved"), *lines])
