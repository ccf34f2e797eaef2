"""Where tearsheets lie under the lake's root, and how other pages find them.

`<market>/reports/tearsheets/<session>.html` is the index of a session, `…/tearsheets/<session>/<ticker>.html` a page.
"""

from __future__ import annotations

import hashlib
import re
from datetime import date
from typing import TYPE_CHECKING
from urllib.parse import quote

import polars as pl

from trading_pipeline.markets import Market
from trading_pipeline.reports.decisions import selected, tickers_of
from trading_pipeline.storage import files
from trading_pipeline.storage.io_managers import read_in_force
from trading_pipeline.tables import UNIVERSE_MEMBERS

if TYPE_CHECKING:
    from trading_pipeline.world import World

NAME = "tearsheets"
INDEX = ""
"""The key of the index among links by instrument id."""

_UNSAFE = re.compile(r"[^A-Za-z0-9._-]|^\.")


def index_place(market: Market, session: date) -> str:
    """Where the index of a session's tearsheets lies under the lake's root."""
    return f"{market.name}/reports/{NAME}/{session}.html"


def place_of(market: Market, session: date, ticker: str) -> str:
    """Where the tearsheet of a ticker lies under the lake's root."""
    return f"{_folder(market, session)}/{file_name(ticker)}"


def file_name(ticker: str) -> str:
    """A ticker as the name of a file on any system: `BRK.B.html`; what is unsafe in one becomes `_`, and a hash of the
    ticker then keeps `A/B` and `A:B` apart."""
    safe = _UNSAFE.sub("_", ticker)
    if safe != ticker:
        safe = f"{safe[:40]}-{hashlib.sha256(ticker.encode()).hexdigest()[:8]}"
    return f"{safe}.html"


def href(session: date, ticker: str) -> str:
    """The address of a tearsheet, relative to the folder of the indices."""
    return f"{session}/{quote(file_name(ticker))}"


def links(world: World, market: Market, session: date, scores: pl.DataFrame, dips: pl.DataFrame) -> dict[str, str]:
    """Address of each tearsheet of the session, relative to the briefing, by instrument id; the index as INDEX.

    Only pages that were chosen for this session and exist are named: a page left over from another choice is not.
    """
    there = set(files.names_in(world.settings, _folder(market, session)))
    if not there:
        return {}
    members = read_in_force(world, market, UNIVERSE_MEMBERS, session, session)
    tickers = tickers_of(scores, dips, members)
    found = {
        id_: f"../{NAME}/{href(session, tickers[id_])}"
        for id_ in selected(scores, dips, members, world.settings.tearsheet_count)
        if id_ in tickers and file_name(tickers[id_]) in there
    }
    if files.has_file(world.settings, index_place(market, session)):
        found[INDEX] = f"../{NAME}/{session}.html"
    return found


def _folder(market: Market, session: date) -> str:
    return f"{market.name}/reports/{NAME}/{session}"
