"""Tearsheets: a page about each name that matters on a session, and an index of them.

What belongs here: choosing and arranging, for one name, the numbers of tables already computed. What does not:
computing them (`research/`), storing the pages (`assets/`), what the briefing shares with them (`decisions.py`,
`pages.py`).
"""

from trading_pipeline.reports.tearsheets.gather import TearsheetInputs, gather, render_all, tearsheet_pages
from trading_pipeline.reports.tearsheets.places import NAME, index_place, links, place_of

__all__ = [
    "NAME",
    "TearsheetInputs",
    "gather",
    "index_place",
    "links",
    "place_of",
    "render_all",
    "tearsheet_pages",
]
