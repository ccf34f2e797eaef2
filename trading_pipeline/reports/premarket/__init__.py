"""The premarket page of a session: what to expect of each watched name before the open, and why.

What belongs here: choosing and arranging tables already computed. What does not: computing them (`research/premarket`),
storing the page (`assets/`), what it shares with other pages (`decisions.py`, `pages.py`).
"""

from trading_pipeline.reports.premarket.gather import NAME, gather, place_of, premarket_page, premarket_summary
from trading_pipeline.reports.premarket.inputs import PremarketInputs
from trading_pipeline.reports.premarket.page import render
from trading_pipeline.reports.premarket.summary import summary_renderable

__all__ = [
    "NAME",
    "PremarketInputs",
    "gather",
    "place_of",
    "premarket_page",
    "premarket_summary",
    "render",
    "summary_renderable",
]
