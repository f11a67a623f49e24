"""A brush over a picture that the page shows. It needs Gradio, which the module imports."""

from abc import ABCMeta
from pathlib import Path
from typing import Any

import gradio as gr
from gradio.component_meta import ComponentMeta
from gradio.components.base import server
from gradio.components.image_editor import AcceptBlobs, EditorData, EditorDataBlobs

from dct_jax.demo.guard import Refusal
from dct_jax.demo.uploads import LARGEST_MASK

MOST_MASKS = 16
"""How many masks are kept between a browser's upload and its request."""

COLOR = "#ff00a0"


class _WithoutStub(ComponentMeta):
    """Makes a class as Python does. Gradio's way would write a file of types beside this one."""

    def __new__(cls, name: str, bases: tuple[type, ...], attributes: dict[str, Any]) -> Any:
        return ABCMeta.__new__(cls, name, bases, attributes)


class MaskEditor(gr.ImageEditor, metaclass=_WithoutStub):
    """Gradio's editor, whose function gets the file of what was painted, bytes, or None, and
    decodes it itself.

    Gradio's own editor keeps all that browsers send, without limits, and lets Pillow decode it.
    (Gradio reads the names of a component's properties off `__init__`, so this class has none.)
    """

    is_template = True  # a browser shows it as the class above it

    def preprocess(self, payload: EditorData | None) -> bytes | None:
        """Returns the file of the first layer, which a browser sent before, or a client uploads."""
        if payload is None:
            return None
        if payload.id is not None:
            kept = self.blob_storage.pop(payload.id, None)
            return kept.layers[0] if kept else None
        if not payload.layers:
            return None
        with Path(payload.layers[0].path).open("rb") as file:
            return file.read(LARGEST_MASK + 1)

    @server
    async def accept_blobs(self, data: AcceptBlobs) -> None:
        """Keeps the first layer of an editor; its other parts are what the page itself showed.

        Raises:
            Refusal: if it is too large.
        """
        name, mask = str(data.data.get("id")), data.files[0][1]
        if data.data.get("type") != "layer" or str(data.data.get("index")) != "0":
            return
        if len(mask) > LARGEST_MASK:
            raise Refusal(413, f"this mask has more than {LARGEST_MASK >> 20} MiB")
        self.blob_storage[name] = EditorDataBlobs(background=None, layers=[mask], composite=None)
        while len(self.blob_storage) > MOST_MASKS:
            del self.blob_storage[next(iter(self.blob_storage))]


def add_mask_editor(radius: int, elem_id: str) -> MaskEditor:
    """Adds an editor with a brush of this radius in pixels, and no other way to change
    a picture."""
    return MaskEditor(
        label="mark a region",
        elem_id=elem_id,
        brush=gr.Brush(default_size=radius, colors=[COLOR], default_color=COLOR, color_mode="fixed"),
        sources=[],
        transforms=[],
        layers=False,
        buttons=[],
        format="png",
        interactive=True,
    )
