"""A page in a real browser without a network, and what is asked of every page of ours."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
NO_CHROMIUM = "no chromium, chromium-browser or google-chrome on the PATH"
_QUIET = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
DESK, TABLET, PHONE = {"width": 1280, "height": 900}, {"width": 800, "height": 1100}, {"width": 390, "height": 844}
PAPER = {"width": 703, "height": 1000}  # A4 less its margins, in CSS pixels

_BEYOND_THE_MARGIN = """() => {
  const main = document.querySelector('main');
  const edge = main.getBoundingClientRect().right - parseFloat(getComputedStyle(main).paddingRight);
  return [...main.querySelectorAll('*')]
    .filter(element => !element.closest('.scroll, svg') && element.getBoundingClientRect().right > edge + 1)
    .map(element => element.outerHTML.slice(0, 80));
}"""
_WEAK_TEXT = """() => {
  const channels = colour => colour.match(/[\\d.]+/g).map(Number);
  const luminance = colour => channels(colour).slice(0, 3).map(value => value / 255)
    .map(value => value <= 0.03928 ? value / 12.92 : ((value + 0.055) / 1.055) ** 2.4)
    .reduce((sum, value, n) => sum + value * [0.2126, 0.7152, 0.0722][n], 0);
  const behind = element => {
    for (let at = element; at; at = at.parentElement) {
      const colour = getComputedStyle(at).backgroundColor;
      if ((channels(colour)[3] ?? 1) > 0) return colour;
    }
  };
  const found = [];
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (walker.nextNode()) {
    const element = walker.currentNode.parentElement;
    if (!walker.currentNode.data.trim() || element.closest('svg, style, script')) continue;
    const style = getComputedStyle(element);
    const [a, b] = [luminance(style.color), luminance(behind(element))].sort((x, y) => y - x);
    const large = parseFloat(style.fontSize) >= 24;
    if ((a + 0.05) / (b + 0.05) < (large ? 3 : 4.5)) found.push(element.outerHTML.slice(0, 80));
  }
  return found;
}"""
_SMALL_TEXT = """() => [...document.querySelectorAll('main *, header *')]
  .filter(element => element.offsetParent && !element.closest('svg') && [...element.childNodes]
    .some(node => node.nodeType === Node.TEXT_NODE && node.data.trim()))
  .filter(element => parseFloat(getComputedStyle(element).fontSize) < 11 && parseFloat(
    getComputedStyle(element).fontSize) > 0)
  .map(element => element.outerHTML.slice(0, 80))"""


class Opened:
    """A page in a tab, with everything it complained of or asked for."""

    def __init__(self, tab: Any, address: str) -> None:
        self.tab = tab
        self.complaints: list[str] = []
        self.requests: list[str] = []
        tab.on("console", lambda message: self.complaints.append(message.text))
        tab.on("pageerror", lambda error: self.complaints.append(str(error)))
        tab.on("request", lambda request: self.requests.append(request.url))
        tab.goto(address)

    def ask(self, script: str) -> Any:
        """What a line of JavaScript says in the page."""
        return self.tab.evaluate(script)

    def unfold(self) -> None:
        """Open whatever is folded."""
        self.ask("document.querySelectorAll('details').forEach(part => part.open = true)")

    def beyond_the_margin(self) -> list[str]:
        """Elements that stick out of the page on the right, those in a scrolling region not counted."""
        return self.ask(_BEYOND_THE_MARGIN)  # type: ignore[no-any-return]

    def weak_text(self) -> list[str]:
        """Elements whose text misses WCAG AA: a contrast of 4.5 to what is behind it, 3 for large text."""
        return self.ask(_WEAK_TEXT)  # type: ignore[no-any-return]

    def small_text(self) -> list[str]:
        """Elements whose text is smaller than 11 pixels."""
        return self.ask(_SMALL_TEXT)  # type: ignore[no-any-return]

    def column(self, table: str, place: int) -> list[str]:
        """What stands in a column of a table, from top to bottom."""
        return self.ask(  # type: ignore[no-any-return]
            f"[...document.querySelectorAll('{table} tbody tr')].map(row => row.cells[{place}].innerText.trim())"
        )


@contextmanager
def browser() -> Iterator[Any]:
    """The installed Chromium, without a window."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        opened = playwright.chromium.launch(executable_path=CHROMIUM, args=_QUIET)
        yield opened
        opened.close()
