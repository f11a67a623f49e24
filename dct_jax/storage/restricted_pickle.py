"""Reading pickles that others wrote: nothing of theirs is called."""

import io
import pickle
from collections.abc import Callable, Iterable, Mapping
from typing import Any, ClassVar

Named = tuple[str, str]

_REFUSED: tuple[bytes, ...] = (pickle.BYTEARRAY8, pickle.NEXT_BUFFER, pickle.READONLY_BUFFER, pickle.INST, pickle.OBJ)
_REFUSED += (pickle.EXT1, pickle.EXT2, pickle.EXT4, pickle.EMPTY_SET, pickle.FROZENSET, pickle.ADDITEMS)


class Keyed(dict):
    """A dictionary with keys of text or numbers: hashing a deeply nested tuple ends the process.

    It has no attributes: setting the same many ones again and again takes memory without end.
    """

    __slots__ = ()

    def __init__(self, pairs: Iterable[tuple[Any, Any]] = ()) -> None:
        super().__init__()
        for key, value in pairs:
            self[key] = value

    def __setitem__(self, key: Any, value: Any) -> None:
        if not isinstance(key, str | int):
            raise ValueError("it has a dictionary whose keys are neither text nor whole numbers")
        super().__setitem__(key, value)


class Leaky(Keyed):
    """A dictionary that leaves out what has another key."""

    __slots__ = ()

    def __setitem__(self, key: Any, value: Any) -> None:
        if isinstance(key, str | int):
            super().__setitem__(key, value)


class Nothing:
    """Stands for whatever a file names and nobody here knows: a function, a class, or its object.

    It takes all that pickles do to such things, and keeps nothing of it.
    """

    __slots__ = ()

    def __new__(cls, *_: Any, **__: Any) -> "Nothing":
        return NOTHING

    def __call__(self, *_: Any, **__: Any) -> "Nothing":
        return self

    def __setstate__(self, _: Any) -> None:
        pass

    def __setitem__(self, _: Any, __: Any) -> None:
        pass

    def extend(self, _: Any) -> None:
        """Takes the items of a list that has a class of its own."""

    append = extend


NOTHING: Nothing = object.__new__(Nothing)
"""The only one."""


def no_storage(_: Any) -> Any:
    """For pickles that keep nothing outside."""
    raise ValueError("it names data outside of itself")


# Python's own implementation in Python, not the one in C: with that one a few bytes of a file can
# reserve gigabytes, as it keeps what it has read in a list as long as the largest index that the
# file mentions.
class Unpickler(pickle._Unpickler):
    """Builds numbers, strings, tuples, lists, dictionaries, and what the given names stand for.

    The names stand for functions and classes of ours that only keep what they are given. Make them
    anew for each file, as a pickle can set attributes of what it gets. Opcodes that no file of
    weights needs are refused, above all BYTEARRAY8, which takes the memory that it names first.
    """

    dispatch: ClassVar[dict[int, Callable[..., None]]] = {
        code: load for code, load in pickle._Unpickler.dispatch.items() if bytes([code]) not in _REFUSED
    }
    dictionary: ClassVar[type[Keyed]] = Keyed
    append: Callable[[Any], None]  # onto the stack
    pop_mark: Callable[[], list[Any]]

    def load_empty_dictionary(self) -> None:
        self.append(self.dictionary())

    def load_dict(self) -> None:
        items = self.pop_mark()
        self.append(self.dictionary(zip(items[::2], items[1::2], strict=True)))

    dispatch[pickle.EMPTY_DICT[0]] = load_empty_dictionary
    dispatch[pickle.DICT[0]] = load_dict

    def __init__(self, file: io.BytesIO, names: Mapping[Named, Any], storage: Callable[[Any], Any] = no_storage) -> None:
        """Opens a pickle. `names` maps (module, name) to what stands for it; `storage` makes data
        of references to the outside."""
        super().__init__(file)
        self._names, self._storage = names, storage

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in self._names:
            raise ValueError(f"it asks for {f'{module}.{name}'[:80]!r}, which no file of weights needs")
        return self._names[module, name]

    def persistent_load(self, pid: Any) -> Any:
        return self._storage(pid)


class LenientUnpickler(Unpickler):
    """An `Unpickler` that reads on: NOTHING stands for names that it was not given, and pairs with
    other keys than text or whole numbers are left out."""

    dictionary = Leaky

    def find_class(self, module: str, name: str) -> Any:
        return self._names.get((module, name), NOTHING)


def reason(error: Exception) -> str:
    """A single short line."""
    return " ".join(f"{error or type(error).__name__}".split())[:200]
