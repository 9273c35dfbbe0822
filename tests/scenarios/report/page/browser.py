"""A headless Chromium for tests: pages without a network, and what went wrong in them."""

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Page, expect, sync_playwright

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
MISSING = "there is no Chromium on this machine: apt-get install chromium"
WAIT_MS = 300_000
"""How long an element or a text may be missing: a wrong text fails after this time. A page needs a second."""
SERIOUS = ("serious", "critical")


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """Of one module alone: playwright keeps an event loop running in this thread, where others could not run theirs."""
    if CHROMIUM is None:
        if os.environ.get("CI"):
            pytest.fail(MISSING)
        pytest.skip(MISSING)
    with sync_playwright() as playwright:
        sandbox = ["--no-sandbox"] if os.getuid() == 0 else []  # root cannot have one
        found = playwright.chromium.launch(executable_path=CHROMIUM, args=sandbox)
        yield found
        found.close()


class OpenPage:
    """A page that is open in a browser.

    Args:
        browser: Of the tests.
        file: The page.
        hash: What follows its address.
        width: Of the window, in pixels.
        dark: Whether the reader prefers dark pages.
    """

    def __init__(self, browser: Browser, file: Path, hash: str = "", *, width: int = 1280, dark: bool = False) -> None:
        context = browser.new_context(
            viewport={"width": width, "height": 800}, color_scheme="dark" if dark else "light"
        )
        context.set_default_timeout(WAIT_MS)
        expect.set_options(timeout=WAIT_MS)
        self.page: Page = context.new_page()
        self.errors: list[str] = []
        self.asked: list[str] = []
        """Addresses that the page asked for."""
        self.page.on("console", lambda said: self.errors.append(said.text))
        self.page.on("pageerror", lambda error: self.errors.append(str(error)))
        self.page.on("request", lambda request: self.asked.append(request.url))
        self.page.goto(file.as_uri() + hash)

    def cell(self, number: int) -> None:
        """Open the text of a cell of the gradebook."""
        self.page.locator("#grid .cell").nth(number).click()
        self.page.wait_for_selector("#drawer .panel")

    def violations(self) -> list[str]:
        """What axe finds serious or critical."""
        found = Axe().run(self.page).response["violations"]
        return [f"{one['id']}: {one['nodes'][0]['html']}" for one in found if one["impact"] in SERIOUS]

    def refuses(self, hostile: str) -> bool:
        """Whether the page's policy stops a text that was made markup and sets `ran`."""
        insert = "(text) => document.body.insertAdjacentHTML('beforeend', text)"
        with self.page.expect_console_message(lambda said: "Content Security Policy" in said.text):
            self.page.evaluate(insert, hostile)
        return self.page.evaluate("window.ran") is None

    @property
    def drawer(self) -> str:
        """The text of the drawer."""
        return self.page.locator("#drawer").inner_text()
