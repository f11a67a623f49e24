"""How a JPEG file's picture is to be turned, by its Exif and XMP segments, read as by Pillow."""

import re
from typing import Literal

_XMP = b"http://ns.adobe.com/xap/1.0/\x00"
_TAG = 0x0112
_INTEGERS = {3: (2, False), 4: (4, False), 6: (1, True), 8: (2, True), 9: (4, True), 13: (4, False)}
"""TIFF's types of one whole number: bytes, and whether it has a sign."""


def exif_orientation(body: bytes) -> int | None:
    """Returns the orientation in an APP1 segment of Exif, 1..8; 1 if it says something else, None
    if it says nothing or is damaged."""
    orders: dict[bytes, Literal["little", "big"]] = {b"II": "little", b"MM": "big"}
    order = orders.get(body[6:8])
    if body[:6] != b"Exif\x00\x00" or order is None:
        return None
    directory = 6 + int.from_bytes(body[10:14], order)
    entries = int.from_bytes(body[directory : directory + 2], order)
    for i in range(min(entries, len(body) // 12)):
        entry = body[directory + 2 + 12 * i : directory + 14 + 12 * i]
        if len(entry) < 12 or int.from_bytes(entry[:2], order) != _TAG:
            continue
        size, signed = _INTEGERS.get(int.from_bytes(entry[2:4], order), (0, False))
        is_inside = 0 < size * int.from_bytes(entry[4:8], order) <= 4  # else these four bytes say where it is
        value = int.from_bytes(entry[8 : 8 + size], order, signed=signed)
        return value if is_inside and 1 <= value <= 8 else 1
    return None


def xmp_orientation(body: bytes) -> int | None:
    """Returns the orientation in an APP1 segment of XMP, 0..9; None if there is none."""
    found = re.search(rb'tiff:Orientation(?:="|>)([0-9])', body) if body.startswith(_XMP) else None
    return int(found[1]) if found else None
