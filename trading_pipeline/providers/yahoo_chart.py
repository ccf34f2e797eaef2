"""Yahoo's chart endpoint, which tells daily and intraday bars alike: how its answers are read, and what its words mean.

What does not belong here: the client's common traps (`yahoo_client.py`), and what is made of an answer (`yahoo.py`,
`yahoo_intraday.py`).
"""

from __future__ import annotations

from datetime import datetime
from typing import Any

from trading_pipeline.providers.base import CallMeter
from trading_pipeline.providers.errors import EmptyWindow, NotFound, ProviderError, SchemaChanged
from trading_pipeline.providers.yahoo_client import Exchange

_NO_DATA = "Data doesn't exist"
_TOO_FAR = ("must be within the last", "allowed to be fetched per request")


class ChartExchange(Exchange):
    """Requests of the chart endpoint for one symbol; `result` is the latest answer.

    empty: what is raised where Yahoo knows the symbol and has no bar in the dates asked.
    """

    paths = ("/v8/finance/chart/",)

    def __init__(self, symbol: str, meter: CallMeter, now: datetime, empty: EmptyWindow) -> None:
        super().__init__(symbol, meter, now)
        self.empty = empty
        self.result: dict[str, Any] = {}

    def read(self, body: Any, status: int) -> None:
        """Keep the bars of the answer; `EmptyWindow` where it has none, `NotFound` where they are another symbol's."""
        chart = body.get("chart") if isinstance(body, dict) else None
        if not isinstance(chart, dict):
            raise SchemaChanged(f"Yahoo answered {self.symbol} with HTTP {status} and no chart")
        if chart.get("error"):
            raise self._stated(chart["error"], status)
        results = chart.get("result")
        if not results or not results[0].get("timestamp"):
            raise self.empty
        self.result = results[0]

    def own_meta(self) -> dict[str, Any]:
        """`meta` of the answer; `NotFound` where it speaks of another symbol, as it does of a renamed one."""
        meta: dict[str, Any] = self.result["meta"]
        if meta.get("symbol", self.symbol).upper() != self.symbol.upper():
            raise NotFound(f"Yahoo answered {self.symbol} with the bars of {meta['symbol']}")
        return meta

    def _stated(self, error: dict[str, Any], status: int) -> ProviderError:
        symbol, said = self.symbol, f"{error.get('code')}: {error.get('description')}"
        if _NO_DATA in said:
            return self.empty
        if any(words in said for words in _TOO_FAR):
            return EmptyWindow(f"Yahoo tells no bars of {symbol} so far back ({said})", "Ask for later sessions")
        if error.get("code") == "Not Found" or "No data found" in said:
            return NotFound(f"Yahoo knows no {symbol} ({said})")
        return SchemaChanged(f"Yahoo answered {symbol} with HTTP {status} ({said})")
