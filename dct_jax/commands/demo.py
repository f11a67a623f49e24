"""The command demo."""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import tyro

from dct_jax.commands.arguments import parse, say

if TYPE_CHECKING:
    import gradio

    from dct_jax.trained_model import TrainedModel


@dataclass(frozen=True)
class Demo:
    """A web page on this machine that samples, upsamples, colorizes and continues pictures, which grow as they are drawn.

    Attributes:
        run: folder of the run.
        host: the address to listen at; the default is this machine alone, 0.0.0.0 is anyone who reaches it.
        port: likewise.
    """

    run: Annotated[Path, tyro.conf.Positional]
    host: str = "127.0.0.1"
    port: int = 7860


def demo(args: Sequence[str]) -> int:
    """`demo RUN`: until Ctrl-C."""
    command = parse(Demo, args, "demo")
    if not 0 < command.port < 2**16:
        raise ValueError(f"port is {command.port}; it must be from 1 to 65535")
    from dct_jax.trained_model import load

    model = load(command.run)
    print(f"http://{command.host}:{command.port} (Ctrl-C ends it)", flush=True)
    serve(model, command.host, command.port)
    return say("the demo has ended")


def serve(model: "TrainedModel", host: str, port: int, blocking: bool = True) -> "gradio.Blocks":
    """Starts the page; port 0 takes any that is free.

    Raises:
        ValueError: if Gradio is missing, or there is something else at that port.
    """
    os.environ.setdefault("GRADIO_ANALYTICS_ENABLED", "False")  # nobody is told that it runs
    from dct_jax.demo import LARGEST_FILE, build

    page = build(model)
    import gradio as gr

    try:
        page.queue(max_size=16).launch(
            server_name=host,
            server_port=port or None,
            max_file_size=LARGEST_FILE,
            share=False,
            quiet=True,
            prevent_thread_lock=not blocking,
            footer_links=[],
            theme=gr.themes.Default(font="sans-serif", font_mono="monospace"),  # the usual one fetches fonts elsewhere
        )
    except OSError as error:
        raise ValueError(f"the demo cannot listen at {host}:{port} ({error}); name another --port") from None
    return page
