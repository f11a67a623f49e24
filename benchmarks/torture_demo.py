"""The demo page under many requests at once, of which most are broken."""

import json
import random
import subprocess
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from machine import Figure
from torture_kills import command

PORT = 7931


def crowd(seconds: float, seed: int) -> list[Figure]:
    """100 requests at once: broken uploads, odd parameters, foreign names, bodies that are none."""
    try:
        import gradio  # noqa: F401
        import httpx
    except ImportError:
        return [Figure("requests to the demo", "not tried", "(needs Gradio)")]
    rng = random.Random(seed)
    arguments = command("demo", "fashion", "--port", PORT)
    page = subprocess.Popen(arguments, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    url = f"http://127.0.0.1:{PORT}"
    try:
        end = time.monotonic() + 120
        while True:
            try:
                httpx.get(url, timeout=5)
                break
            except httpx.HTTPError:
                assert time.monotonic() < end and page.poll() is None, "the page does not start"
                time.sleep(0.5)

        odd: list[Any] = [None, -5, 99, 1e308, "SECRET", ["SECRET"], {"path": "/etc/passwd"}, "0" * 10_000, True]

        def ask(number: int) -> int:
            call, upload = f"{url}/gradio_api/call/{rng.choice(['draw', 'upsample', 'continue'])}", f"{url}/gradio_api/upload"
            paths = ["../../etc/passwd", "x" * 5000, "%00", "gradio_api/file=/etc/passwd"]
            bodies = [b"{", b"[" * 100_000, b"SECRET" * 1000, json.dumps({"data": odd}).encode()]
            requests: list[tuple[str, str, dict[str, Any]]] = [
                ("POST", call, {"json": {"data": [rng.choice(odd) for _ in range(rng.randrange(7))]}}),
                ("POST", upload, {"files": {"files": ("SECRET.png", rng.randbytes(rng.choice([0, 10, 100_000, 10 << 20])))}}),
                ("GET", url, {"headers": {"host": f"{rng.randrange(99)}.example"}}),
                ("POST", call, {"content": rng.choice(bodies), "headers": {"content-type": "application/json"}}),
                ("GET", f"{url}/{rng.choice(paths)}", {}),
            ]
            method, address, rest = requests[number % 5]
            try:
                return httpx.request(method, address, timeout=60, **rest).status_code
            except httpx.HTTPError:
                return -1

        with ThreadPoolExecutor(100) as pool:
            codes = list(pool.map(ask, range(100)))
        alive = httpx.get(url, timeout=60).status_code == 200 and page.poll() is None
    finally:
        page.terminate()
        said = page.communicate(timeout=60)[0]
    foreign = [codes[i] for i in range(2, 100, 5)]
    bad = {
        "it has ended": not alive,
        "foreign names are answered": any(code != 421 for code in foreign),
        "no answer": codes.count(-1),
        "tracebacks": said.count("Traceback"),
        "bodies in the log": said.count("SECRET"),
    }
    bad = {name: number for name, number in bad.items() if number}
    return [Figure("requests to the demo at once", len(codes), f"FAILED: {bad}" if bad else "it answers all, and goes on")]
