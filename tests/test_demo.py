"""The demo page, driven as a visitor does: in a headless browser where there is one, and through
its interface."""

import asyncio
import io
import itertools
import os
import socket
import traceback
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from unittest.mock import MagicMock

import numpy as np
import pytest
from PIL import Image
from PIL.ImageFile import ImageFile

from dct_jax.commands import demo, main
from dct_jax.commands.demo import serve
from dct_jax.dct.sampling.policy import Policy
from dct_jax.dct.steering import to_restore
from dct_jax.dct.trained_model import TrainedModel
from dct_jax.demo import guard as demo_guard
from dct_jax.demo.dct_page import grow
from dct_jax.demo.guard import LARGEST_BODY, MOST_KEPT, Guard
from dct_jax.demo.uploads import LARGEST_FILE, read_upload
from dct_jax.run import load
from tests.browser import needs_browser, open_browser
from tests.conftest import Refused


@pytest.fixture(scope="module")
def model(debug_run: Path) -> TrainedModel:
    return load(debug_run)


@pytest.fixture(scope="module")
def address(model: TrainedModel) -> Iterator[str]:
    pytest.importorskip("gradio")
    page = serve(model, "127.0.0.1", 0)
    yield page.local_url
    page.close()


@pytest.fixture
def picture(tmp_path: Path) -> Path:
    path = tmp_path / "picture.png"
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (40, 40, 3), np.uint8)).save(path)
    return path


@pytest.fixture
def broken(tmp_path: Path, picture: Path) -> Path:
    path = tmp_path / "broken.png"
    path.write_bytes(picture.read_bytes()[:200])
    return path


def test_frames_grow_and_end_with_the_sample(model: TrainedModel) -> None:
    image = np.full((32, 32, 3), 90, np.uint8)
    given = to_restore(model, image)
    starts = [start for start in model.starts(2)]
    frames = list(grow(model, starts, 0, Policy(), given))
    assert frames[-1][1].startswith("complete: ") and len(frames) > 2
    assert all(frame.shape == frames[0][0].shape for frame, _ in frames)
    assert not np.array_equal(frames[0][0], frames[-1][0])


def test_uploads_are_looked_at_before_they_are_decoded(tmp_path: Path, broken: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ValueError, match="upload a picture first"):
        read_upload(None)
    with pytest.raises(ValueError, match=r"cannot be read|no image"):
        read_upload(str(broken))
    large = tmp_path / "large.png"
    large.write_bytes(bytes(LARGEST_FILE + 1))
    with pytest.raises(ValueError, match="more than 8 MiB"):
        read_upload(str(large))
    bomb = tmp_path / "bomb.png"
    Image.new("1", (5000, 5000)).save(bomb)
    assert bomb.stat().st_size < 10_000
    monkeypatch.setattr(ImageFile, "load", lambda image: pytest.fail("it was decoded"))  # Pillow's Exif of a PNG would do that
    with pytest.raises(ValueError, match="this image has 5000 x 5000 pixels"):
        read_upload(str(bomb))
    drawing = tmp_path / "drawing.png"  # PostScript, which Pillow gives to Ghostscript
    drawing.write_bytes(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EndComments\n")
    with pytest.raises(ValueError, match="no image of a kind that is read"):
        read_upload(str(drawing))


@pytest.mark.slow
def test_the_interface_draws_and_names_what_is_wrong(address: str, picture: Path, broken: Path) -> None:
    from gradio_client import Client, handle_file
    from gradio_client.exceptions import AppError

    client, settings = Client(address, verbose=False), (-1, 1.0, 1.0, 3)
    job = client.submit(*settings, api_name="/draw")
    image, line = job.result()
    assert line.startswith("complete") and "seed 3" in line
    assert len(job.outputs()) > 2
    assert Image.open(image).size[0] > 64
    assert client.predict(handle_file(picture), *settings, api_name="/upsample")[1].startswith("complete")
    assert client.predict(handle_file(picture), 0.3, *settings, api_name="/continue")[1].startswith("complete")
    with pytest.raises(AppError, match="channel order is banded"):
        client.predict(handle_file(picture), *settings, api_name="/colorize")
    with pytest.raises(AppError, match=r"cannot be read|no image"):
        client.predict(handle_file(broken), *settings, api_name="/upsample")
    with pytest.raises(AppError, match="choose a class and a seed"):
        client.predict(-1, 1.0, 1.0, None, api_name="/draw")
    with pytest.raises(AppError, match="upload a picture first"):
        client.predict(None, *settings, api_name="/upsample")


def test_foreign_names_and_large_bodies_are_refused(address: str, caplog: pytest.LogCaptureFixture) -> None:
    """A page elsewhere can point its own name at this machine (DNS rebinding); a name cannot be an
    address. Or it asks the true address, and could read the answers of a page at ::1."""
    import httpx

    with httpx.Client(base_url=address, timeout=60) as client:

        def asked(host: str, **headers: str) -> int:
            return client.get("/", headers=headers | {"host": host}).status_code

        assert [asked(host) for host in ("127.0.0.1:7860", "localhost", "[::1]:80", "192.168.0.7")] == [200] * 4
        assert [asked(host) for host in ("evil.example", "evil.example:7860", "127.0.0.1.evil.example", "")] == [421] * 4
        assert [asked(host, origin=f"http://{host}") for host in ("[::1]:80", "LOCALHOST", "192.168.0.7:7860")] == [200] * 3
        assert asked("127.0.0.1", **{"origin": "https://demo.example", "x-forwarded-host": "demo.example"}) == 200
        assert [asked("[::1]:80", origin=page) for page in ("http://evil.example", "http://[::1]:81", "null", "")] == [403] * 4
        upload = {"content-type": "multipart/form-data; boundary=x"}
        assert client.post("/gradio_api/upload", content=bytes(LARGEST_BODY + 1), headers=upload).status_code == 413

        def parts() -> Iterator[bytes]:  # without a length
            yield b'--x\r\nContent-Disposition: form-data; name="files"; filename="a.png"\r\n\r\n'
            yield from itertools.repeat(bytes(2**20), 12)

        assert client.post("/gradio_api/upload", content=parts(), headers=upload).status_code == 413
        assert client.get("/").status_code == 200


def test_a_request_that_does_not_go_on_and_uploads_without_end(tmp_path: Path) -> None:
    (tmp_path / "kept").write_bytes(b"")
    os.truncate(tmp_path / "kept", MOST_KEPT + 1)

    async def reading(scope: Any, receive: Any, send: Any) -> None:
        while (await receive()).get("more_body"):
            pass
        raise ValueError("what was sent")

    async def answered(path: str, **body: Any) -> int:
        messages, parts = [], [{"type": "http.request", **body}]

        async def receive() -> Any:
            if parts:
                return parts.pop()
            await asyncio.sleep(60)

        async def send(message: Any) -> None:
            messages.append(message)

        scope = {"type": "http", "method": "POST", "path": path, "headers": [(b"host", b"127.0.0.1")]}
        await Guard(reading, "127.0.0.1", tmp_path)(scope, receive, send)
        return messages[0]["status"]

    with pytest.MonkeyPatch.context() as monkeypatch:
        monkeypatch.setattr(demo_guard, "SLOWEST", 0.1)
        assert asyncio.run(answered("/cancel", body=b"{", more_body=True)) == 408
    assert asyncio.run(answered("/cancel", body=b"{", more_body=False)) == 500
    paths = ("upload", "queue/join", "call/draw", "call/v2/draw/", "run/draw", "process_recording", "cancel", "reset/")
    codes = [asyncio.run(answered(f"/gradio_api/{path}", body=b"", more_body=False)) for path in paths]
    assert codes == [507] * 5 + [404, 500, 500]


def test_requests_fetch_nothing_and_wait_in_the_queue(address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Gradio fetched any URL that a request named, and /run/... answered without the queue."""
    import httpx

    names, resolve = [], socket.getaddrinfo

    def record(host: Any, *args: Any, **others: Any) -> Any:
        names.append(host)
        return resolve("127.0.0.1", *args, **others)

    monkeypatch.setattr(socket, "getaddrinfo", record)
    with httpx.Client(base_url=f"{address}gradio_api/", timeout=60) as client:
        for url in ("https://pictures.example/x.png", "https://huggingface.co/x.png"):
            asked = {"data": [{"path": url, "meta": {"_type": "gradio.FileData"}}, -1, 1.0, 1.0, 3]}
            assert client.post("run/upsample", json=asked).status_code == 404
            event = client.post("call/upsample", json=asked).json()["event_id"]
            assert "event: error" in client.get(f"call/upsample/{event}").text
            assert client.get(f"file={url}").status_code == 403
        assert client.get("runs").status_code == 404
    assert set(map(str, names)) <= {"127.0.0.1"}


@needs_browser
def test_a_visitor_sees_a_picture_and_for_a_broken_file_a_message(address: str, picture: Path, broken: Path) -> None:
    with open_browser() as browser:
        found, wait = browser.found, browser.wait
        browser.driver.get(address)
        wait(lambda: found("#draw"), "the page")
        browser.open_tab("Upsample")
        wait(lambda: found("#upsample-file input[type=file]"), "the upload")[0].send_keys(str(picture))
        wait(lambda: "picture" in found("#upsample-file")[0].text and "KB" in found("#upsample-file")[0].text, "the file")
        found("#upsample")[0].click()
        wait(lambda: browser.text("#line").startswith("complete"), "samples")
        shown = wait(lambda: found("#shown img"), "the picture")[0]
        assert int(shown.get_property("naturalWidth")) > 64
        data = browser.driver.get_screenshot_as_png()
        assert Image.open(io.BytesIO(data)).size[0] >= 1000

        browser.open_tab("Continue")
        wait(lambda: found("#continue-file input[type=file]"), "the upload")[0].send_keys(str(broken))
        wait(lambda: "broken" in found("#continue-file")[0].text and "B" in found("#continue-file")[0].text, "the file")
        found("#continue")[0].click()
        wait(
            lambda: any("cannot be read" in toast.text or "no image" in toast.text for toast in found(".toast-body")),
            "a message",
        )


@pytest.mark.parametrize(
    ("host", "family", "url"),
    [
        ("127.0.0.1", socket.AF_INET, "http://127.0.0.1:7000"),
        ("localhost", socket.AF_INET, "http://localhost:7000"),
        ("::1", socket.AF_INET6, "http://[::1]:7000"),
        ("[::1]", socket.AF_INET6, "http://[::1]:7000"),
    ],
)
def test_the_page_listens_at_addresses_of_both_kinds(
    host: str, family: int, url: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    plain = host.strip("[]")
    tried, served = MagicMock(), MagicMock()
    monkeypatch.setattr(socket, "create_server", tried)
    monkeypatch.setattr(traceback, "print_exc", traceback.print_exc)  # the command replaces it
    monkeypatch.setattr(demo, "find_spec", lambda name: name)
    monkeypatch.setattr(demo, "load_prior", lambda run, command: run)
    monkeypatch.setattr(demo, "serve", served)
    assert main(["demo", "run", "--host", host, "--port", "7000"]) == 0
    tried.assert_called_once_with((plain, 7000), family=family)
    served.assert_called_once_with("run", plain, 7000)
    assert capsys.readouterr().out.startswith(f"{url} (Ctrl-C ends it)")


def test_what_the_command_refuses(debug_run: Path, refused: Refused, tmp_path: Path) -> None:
    pytest.importorskip("gradio")
    with socket.create_server(("127.0.0.1", 0)) as other:
        free = other.getsockname()[1]  # when it is closed
        assert "cannot listen at 127.0.0.1" in refused("demo", debug_run, "--port", free)
    assert "cannot listen at 256.1.1.1" in refused("demo", debug_run, "--host", "256.1.1.1", "--port", free)
    assert "port is 70000; it must be from 1 to 65535" in refused("demo", debug_run, "--port", 70000)
    assert "there is no run here" in refused("demo", tmp_path / "nothing", "--port", free)
