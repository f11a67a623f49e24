"""The Huffman tables of JPEG files: those of their segments, and those of files that have none."""

from functools import lru_cache

import numpy as np

from dct_jax.codec.jpeg_entropy import TABLE_LENGTH, decoding_table, need

# The tables of ITU-T T.81, K.3 to K.6, which Motion JPEG leaves out: class and number, codes of
# each length, symbols.
_STANDARD = """
00 00010501010101010100000000000000 000102030405060708090a0b
01 00030101010101010101010000000000 000102030405060708090a0b
10 0002010303020403050504040000017d 01020300041105122131410613516107227114328191a1082342b1c11552d1f02433627282090a16
1718191a25262728292a3435363738393a434445464748494a535455565758595a636465666768696a737475767778797a838485868788898a929394959697
98999aa2a3a4a5a6a7a8a9aab2b3b4b5b6b7b8b9bac2c3c4c5c6c7c8c9cad2d3d4d5d6d7d8d9dae1e2e3e4e5e6e7e8e9eaf1f2f3f4f5f6f7f8f9fa
11 00020102040403040705040400010277 000102031104052131061241510761711322328108144291a1b1c109233352f0156272d10a162434
e125f11718191a262728292a35363738393a434445464748494a535455565758595a636465666768696a737475767778797a82838485868788898a92939495
969798999aa2a3a4a5a6a7a8a9aab2b3b4b5b6b7b8b9bac2c3c4c5c6c7c8c9cad2d3d4d5d6d7d8d9dae2e3e4e5e6e7e8e9eaf2f3f4f5f6f7f8f9fa
"""


@lru_cache(maxsize=256)
def huffman_tables(body: bytes) -> dict[int, np.ndarray]:
    """Returns the decoding tables in a DHT segment: int32 [TABLE_LENGTH] each, by number, 0..3 of
    DC and 4..7 of AC. A table without codes is one; only its use is an error.

    Raises:
        ValueError: if a table is not possible.
    """
    tables = {}
    while body:
        kind, number = body[0] >> 4, body[0] & 15
        length = 17 + sum(body[1:17])
        need(kind <= 1 and number <= 3 and len(body) >= length, "a Huffman table is too short, or has no such number")
        counts, symbols = (np.frombuffer(x, np.uint8).astype(np.int32) for x in (body[1:17], body[17:length]))
        need(len(symbols) <= 256, "a Huffman table has more symbols than there are")
        table = decoding_table(counts, symbols)
        need(len(table) > 0, "a Huffman table has more codes than there are")
        tables[4 * kind + number] = table
        body = body[length:]
    return tables


@lru_cache(maxsize=1)
def standard_tables() -> tuple[np.ndarray, frozenset[int]]:
    """Returns the standard's tables, with which libjpeg reads a sequential file that has none:
    int32 [8, TABLE_LENGTH], and which of the eight there are."""
    tables = np.zeros((8, TABLE_LENGTH), np.int32)
    found = huffman_tables(bytes.fromhex(_STANDARD))
    for number, table in found.items():
        tables[number] = table
    return tables, frozenset(found)
