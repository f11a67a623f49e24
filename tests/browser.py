"""A headless browser, where there is one."""

import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest

needs_browser = pytest.mark.skipif(
    not (shutil.which("chromium") and shutil.which("chromedriver")), reason="needs Chromium and its driver"
)


class Browser:
    """Chromium by its driver, `driver`."""

    def __init__(self, driver: Any) -> None:
        self.driver = driver

    def found(self, css: str) -> list[Any]:
        """The elements of a selector."""
        return self.driver.find_elements("css selector", css)

    def wait(self, holds: Callable[[], Any], what: str) -> Any:
        """Waits for two minutes at most until something is true, and returns it."""
        end = time.monotonic() + 120
        while not (result := holds()):
            assert time.monotonic() < end, f"waited for {what} in vain"
            time.sleep(0.1)
        return result

    def text(self, css: str) -> str:
        return "".join(element.text for element in self.found(css))

    def open_tab(self, title: str) -> None:
        next(tab for tab in self.found("button[role=tab]") if tab.text == title).click()


@contextmanager
def open_browser(*arguments: str) -> Iterator[Browser]:
    webdriver = pytest.importorskip("selenium.webdriver")
    options = webdriver.ChromeOptions()
    options.binary_location = shutil.which("chromium")
    for argument in ("--headless=new", "--no-sandbox", "--disable-dev-shm-usage", "--window-size=1200,1000", *arguments):
        options.add_argument(argument)
    driver = webdriver.Chrome(options, webdriver.ChromeService(shutil.which("chromedriver")))
    try:
        yield Browser(driver)
    finally:
        driver.quit()
