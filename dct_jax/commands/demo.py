"""The command demo, which shows a web page."""

import atexit
import logging
import os
import shutil
import socket
import sys
import tempfile
import traceback
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import tyro

from dct_jax.commands.arguments import parse, say
from dct_jax.commands.runs import load_prior

if TYPE_CHECKING:
    import gradio

    from dct_jax.codes.prior import TrainedCodePrior
    from dct_jax.dct.trained_model import TrainedModel

    Shown = TrainedModel | TrainedCodePrior

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Demo:
    """A web page on this machine. A DCTransformer samples, upsamples, colorizes and continues
    pictures, which grow as they are sampled. A prior over codes samples pictures, and samples
    regions of pictures anew.

    Attributes:
        run: folder of the run.
        host: the page listens at this address: 127.0.0.1 for this machine alone, 0.0.0.0 for all
            who reach it. An IPv6 address such as ::1 is fine, too.
        port: the page listens at this port.
    """

    run: Annotated[str, tyro.conf.Positional]
    host: str = "127.0.0.1"
    port: int = 7860


def demo(args: Sequence[str]) -> int:
    """Runs `demo RUN` until Ctrl-C."""
    command = parse(Demo, args, "demo")
    if not 0 < command.port < 2**16:
        raise ValueError(f"port is {command.port}; it must be from 1 to 65535")
    if find_spec("gradio") is None:
        raise ValueError("the demo needs Gradio: pip install 'dct_jax[demo]'")
    host = command.host.removeprefix("[").removesuffix("]")
    address = f"{_bracket(host)}:{command.port}"
    try:
        socket.create_server((host, command.port), family=socket.AF_INET6 if ":" in host else socket.AF_INET).close()
    except OSError as error:
        reason = error.strerror or error
        raise ValueError(f"the demo cannot listen at {address} ({reason}); name another --host or --port") from None

    # Gradio prints a traceback of each request that does not fit, with what was sent.
    traceback.print_exc = lambda *_, **__: log.warning("a request failed (%s)", type(sys.exception()).__name__)
    page = serve(load_prior(command.run, "demo"), host, command.port)
    print(f"http://{address} (Ctrl-C ends it)", flush=True)
    page.block_thread()
    return say("the demo has ended")


def serve(model: "Shown", host: str, port: int) -> "gradio.Blocks":
    """Starts the page in the background; port 0 takes any that is free."""
    os.environ.setdefault("GRADIO_ANALYTICS_ENABLED", "False")  # nobody is told that it runs
    folder = tempfile.mkdtemp(prefix="dct-jax-demo-")
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    os.environ["GRADIO_TEMP_DIR"] = folder
    import gradio as gr
    from starlette.middleware import Middleware

    from dct_jax.codes.prior import TrainedCodePrior
    from dct_jax.demo import code_page, dct_page
    from dct_jax.demo.guard import Guard, stay_offline
    from dct_jax.demo.uploads import LARGEST_FILE

    stay_offline()
    page = code_page.build(model) if isinstance(model, TrainedCodePrior) else dct_page.build(model)
    page.queue(max_size=16, api_open=False).launch(  # a request cannot pass the others in the queue
        server_name=_bracket(host),  # Gradio makes its own address of it
        server_port=port or None,
        max_file_size=LARGEST_FILE,
        share=False,
        run_history=False,  # it would let requests ask Hugging Face
        quiet=True,
        prevent_thread_lock=True,
        app_kwargs={"middleware": [Middleware(Guard, host=host, folder=Path(folder))]},
        footer_links=[],
        theme=gr.themes.Default(font="sans-serif", font_mono="monospace"),  # the usual one fetches fonts elsewhere
    )
    return page


def _bracket(host: str) -> str:
    """Returns a host as an address on the web has it: an IPv6 address stands in brackets there."""
    return f"[{host}]" if ":" in host else host
