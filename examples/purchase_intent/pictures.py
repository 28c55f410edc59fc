"""Take the pictures of the README after `make demo`: `python examples/purchase_intent/pictures.py FOLDER`.

It needs Chromium and the extras page, report and test.
"""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from playwright.sync_api import Browser, Page, sync_playwright

from bert_multilabel.page.app import launch, make_page
from bert_multilabel.page.model import PageModel

HERE = Path(__file__).resolve().parent
PICTURES = HERE.parents[1] / "docs" / "pictures"
WIDTH, HEIGHT = 1000, 1000
SENTENCE, PRODUCT = "Brilliant little thing, but two hundred quid? I'll pass.", "espresso maker"


def take(browser: Browser, name: str, url: str, prepare: Callable[[Page], None]) -> None:
    """Open a page in both color schemes and save what fits on a screen."""
    for scheme in ("light", "dark"):
        size = {"width": WIDTH, "height": HEIGHT}
        page = browser.new_page(viewport=size, color_scheme=scheme)
        page.goto(url)
        prepare(page)
        page.screenshot(path=PICTURES / f"{name}-{scheme}.png")
        page.close()


def ask(page: Page) -> None:
    """Type the sentence and its product, find the labels, and choose one to see its words."""
    page.locator("#text textarea").fill(SENTENCE)
    page.locator("#pair textarea").fill(PRODUCT)
    page.get_by_role("button", name="Find labels").click()
    page.locator('[data-label="too expensive"]').click()
    page.get_by_text("all words").wait_for()
    page.evaluate("scrollTo(0, 0)")


def main(folder: Path) -> None:
    """Take the pictures of the page and of the report."""
    PICTURES.mkdir(exist_ok=True)
    words = ["report", str(folder), "--file", str(HERE / "validation.csv")]
    subprocess.run([sys.executable, "-m", "bert_multilabel", *words], check=True)
    url = launch(make_page([PageModel.load(folder)]))
    with sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path="/usr/bin/chromium", args=["--no-sandbox"])
        take(browser, "page", url, ask)
        take(browser, "report", (folder / "report.html").resolve().as_uri(), lambda page: None)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
