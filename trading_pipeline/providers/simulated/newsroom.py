"""The simulated press: articles about the planted shocks, with its gaps and mistakes, among everyday noise.

What belongs here: when what is written about whom. Wording is in `wording.py`. Each quarter's articles follow from its
shocks and its draws alone. Per shock and company the press fails at the rates below: nothing is written (missing), it
is written 1 to 3 sessions late, or it is misattributed: half of those name and tag another company of the sector, the
other half are told as market-wide news; the misattributed news of a market or sector shock blames the company itself.
Causeless shocks have no article. Stories are reprinted by other publishers under nearly the same headline.

9 quarters of 120 companies: 10,000 to 12,000 rows in 0.3 s, 3.5 MB; a quarter is written once in a process and kept.
"""

from __future__ import annotations

import re
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import IntEnum
from functools import cache
from hashlib import blake2b
from typing import Final

import numpy as np
import polars as pl

from trading_pipeline.markets import Market
from trading_pipeline.providers.simulated.accounts import BACK, Books, books_of
from trading_pipeline.providers.simulated.companies import SECTORS
from trading_pipeline.providers.simulated.draws import WEEKDAYS, Floats, Ints, Stream
from trading_pipeline.providers.simulated.market import Cause
from trading_pipeline.providers.simulated.reports import opens, report_moments
from trading_pipeline.providers.simulated.wording import (
    COPIES,
    DIRECTION,
    PLACES,
    PUBLISHERS,
    SUMMARIES,
    TITLES,
    TRADES,
    Tone,
)
from trading_pipeline.sessions import calendar

MISSING: Final = 0.10
LATE: Final = 0.10
LATE_BY: Final = 3  # sessions at most
MISATTRIBUTED: Final = 0.05
SCOPE_UNSAID: Final = 1 / 3
SENTIMENT_SAID: Final = 0.15
EVERYDAY_CHANCE: Final = 0.08  # of an everyday article, a company and session
ALARM_SHARE: Final = 0.06  # of the everyday articles, worded like those of a shock
ALARM_DOWN: Final = 0.6  # of those, bad news
WRAP_CHANCE: Final = 0.5  # of a market round-up, a session
WRAP_TAGS: Final = 6
ALARM_RATE: Final = EVERYDAY_CHANCE * ALARM_SHARE * ALARM_DOWN
"""Headlines that read like the cause of a fall and are none, per company and session."""
SETTLES_AFTER: Final = LATE_BY + 2
"""Sessions after which nothing more is written about a shock; how far before a window its quarter may lie."""
_CONTROL: Final = re.compile(r"[^a-z0-9]+")
_STORIES: Final = 6 + 5 * len(SECTORS)  # of the market and of sectors, a quarter

ARTICLES_SCHEMA: Final = pl.Schema(
    [
        ("article_id", pl.String()),
        ("company", pl.Int64()),
        ("published_at", pl.Datetime("us", "UTC")),
        ("title", pl.String()),
        ("summary", pl.String()),
        ("url", pl.String()),
        ("publisher", pl.String()),
        ("scope", pl.String()),
        ("relevance", pl.Float64()),
        ("provider_sentiment", pl.Float64()),
        ("available_at", pl.Datetime("us", "UTC")),
        ("told", pl.Int64()),
        ("about", pl.Int8()),
        ("subject", pl.Int64()),
        ("shock", pl.Int64()),
        ("fault", pl.Int8()),
        ("alarm", pl.Int8()),
    ]
)
"""company: whom it is tagged with. told: position of the session on which it can first be read. about: a `Cause`, -1
for noise. subject, shock: whose shock it is about and its position. fault: a `NewsFault`. alarm: direction of headlines
that speak of an event at the company named, 0 for all others. Missing articles have a row without an article_id."""


class NewsFault(IntEnum):
    """What the press got wrong about a shock."""

    NONE = 0
    LATE = 1
    MISATTRIBUTED = 2
    MISSING = 3


@dataclass
class _Desk:
    """Collects the rows of a quarter; `times` says when its articles appear."""

    times: _Times
    rows: list[tuple[object, ...]] = field(default_factory=list)
    serial: int = 0


@dataclass(frozen=True)
class _Story:
    """One headline: what it says, whom it is tagged with, and what it is truly about.

    told: position on which it can first be read. published: UTC without zone. uniform: draws for its wording.
    tags, subjects: companies, in pairs. named: company whose name the headline carries, -1 for none.
    """

    tone: Tone
    scope: str
    told: int
    published: datetime
    uniform: Sequence[float]
    tags: Sequence[int]
    subjects: Sequence[int]
    named: int
    sector: int
    about: int
    shock: int
    fault: NewsFault
    size: float = 0.0
    figures: tuple[float, float] = (0.0, 0.0)
    alarm: int = 0


class Newsroom:
    """The articles of one market, quarter by quarter."""

    def __init__(self, books: Books) -> None:
        self.books = books
        self._quarters: dict[int, pl.DataFrame] = {}
        self._lock = threading.Lock()

    def articles(self, first: int, last: int) -> pl.DataFrame:
        """`ARTICLES_SCHEMA` of the quarters that hold what can first be read from position `first` to `last`."""
        market = self.books.market
        self.books.reach(last)
        low, high = (
            int(np.searchsorted(market.bounds, max(at, 0), "right")) - 1 for at in (first - SETTLES_AFTER, last)
        )
        with self._lock:
            for quarter in range(low, high + 1):
                if quarter not in self._quarters:
                    self._quarters[quarter] = self._write(quarter)
            return pl.concat([self._quarters[quarter] for quarter in range(low, high + 1)])

    def _write(self, quarter: int) -> pl.DataFrame:
        market = self.books.market
        block = int(market.register.blocks[quarter])
        span = range(int(market.bounds[quarter]), int(market.bounds[quarter + 1]))
        # Late stories are printed in the sessions after the quarter.
        desk = _Desk(_Times(self.books, span.start, min(span.stop + SETTLES_AFTER, len(market.sessions))))
        events = market.draws.generator(Stream.NEWS_EVENTS, block).random((market.slots, 4, 16))
        shared = market.draws.generator(Stream.NEWS_MARKET, block).random((_STORIES + WEEKDAYS, 16))
        position, slot, cause, size = (each for each in market.shocks.columns(4))
        inside = (position >= span.start) & (position < span.stop)
        position, slot, cause = (each[inside].astype(np.int64) for each in (position, slot, cause))
        size = size[inside]
        company = self.books.company_at(slot, position)
        own = np.flatnonzero((cause == Cause.COMPANY) | (cause == Cause.EARNINGS))
        reporting = np.flatnonzero(self.books.held[:, quarter])
        moments = dict(
            zip(
                reporting.tolist(),
                report_moments(self.books, reporting, np.full(len(reporting), quarter)).tolist(),
                strict=True,
            )
        )
        for row in own.tolist():
            kind = 0 if cause[row] == Cause.COMPANY else 1
            self._own(
                desk,
                quarter,
                int(company[row]),
                int(position[row]),
                Cause(int(cause[row])),
                float(size[row]),
                events[slot[row], kind].tolist(),
                moments,
            )
        wide = [(Cause.MACRO, -1, cause == Cause.MACRO, 0)] + [
            (
                Cause.SECTOR,
                sector,
                (cause == Cause.SECTOR) & (self.books.character.sector[company] == sector),
                6 + 5 * sector,
            )
            for sector in range(len(SECTORS))
        ]
        for what, sector, rows, first in wide:
            if rows.any():
                self._wide(
                    desk,
                    what,
                    sector,
                    company[rows],
                    int(position[rows][0]),
                    size[rows],
                    events[slot[rows], 2 if what is Cause.MACRO else 3],
                    shared[first : first + 6],
                )
        self._everyday(desk, block, span)
        self._round_ups(desk, span, shared[_STORIES:])
        return pl.DataFrame(desk.rows, schema=ARTICLES_SCHEMA, orient="row")

    def _own(
        self,
        desk: _Desk,
        quarter: int,
        company: int,
        shock: int,
        cause: Cause,
        size: float,
        uniform: Sequence[float],
        moments: Mapping[int, datetime],
    ) -> None:
        """The story of a company's own shock; `moments`: when the quarter's reports come out, by company."""
        books = self.books
        sector = int(books.character.sector[company])
        fault, told = _mishap(uniform, shock)
        if fault is NewsFault.MISSING or told >= desk.times.end:
            _leave_out(desk, company, cause, shock)
            return
        figures, tone = (0.0, 0.0), Tone.COMPANY_DOWN if size < 0 else Tone.COMPANY_UP
        published = desk.times.of_event(told, uniform[4:7], on_time=told == shock)
        if cause is Cause.EARNINGS:
            tone, figures = self._report(company, quarter, size, uniform[7])
            if told == shock:
                published = moments[company] + timedelta(minutes=1 + int(9 * uniform[5]))
        elif shock == books.announced[company]:
            tone = Tone.TAKEOVER if size > 0 else Tone.FAILURE
        named, tags, scope = company, [company], "company"
        if fault is NewsFault.MISATTRIBUTED:
            if uniform[2] < 0.5:
                peers = self._listed(shock, sector, company)
                named = tags[0] = peers[int(uniform[3] * len(peers))] if peers else company
            else:
                others = self._listed(shock, -1, company)
                tags += [others[int(each * len(others))] for each in uniform[12:15]]
                tone, scope, named = (Tone.MACRO_DOWN if size < 0 else Tone.MACRO_UP), "market", -1
        tags = list(dict.fromkeys(tags))
        alarm = int(np.sign(size)) if named >= 0 and cause is Cause.COMPANY else 0
        self._print(
            desk,
            _Story(
                tone,
                scope,
                told,
                published,
                uniform,
                tags,
                [company] * len(tags),
                named,
                sector,
                int(cause),
                shock,
                fault,
                size,
                figures,
                alarm,
            ),
            copies=(uniform[8] >= 0.5) + (uniform[8] >= 0.8),
        )

    def _report(self, company: int, quarter: int, size: float, uniform: float) -> tuple[Tone, tuple[float, float]]:
        """How a report is headlined, and earnings per share: reported, expected."""
        books = self.books
        shares = books.shares(np.array([company]), books.position[[company], quarter])[0]
        actual = float(books.column("net")[company, BACK + quarter] / shares)
        expected = float(books.column("expected_net")[company, BACK + quarter] / shares)
        if abs(size) > 0.025 and uniform < 0.4:
            return (Tone.FALLS_ON_REPORT if size < 0 else Tone.RISES_ON_REPORT), (actual, expected)
        gap = (actual - expected) / max(abs(expected), 0.01)
        tone = Tone.IN_LINE if abs(gap) < 0.01 else Tone.BEAT if gap > 0 else Tone.MISS
        return tone, (actual, expected)

    def _wide(
        self, desk: _Desk, cause: Cause, sector: int, company: Ints, shock: int, size: Floats, uniform: Floats,
        stories: Floats,
    ) -> None:  # fmt: skip
        """The stories of a shock that many feel: a few that tag most of them, late ones, and wrong ones."""
        down = size[0] < 0
        tones = (Tone.MACRO_DOWN, Tone.MACRO_UP) if cause is Cause.MACRO else (Tone.SECTOR_DOWN, Tone.SECTOR_UP)
        tone, scope = tones[0 if down else 1], "market" if cause is Cause.MACRO else "sector"
        mishaps = [_mishap(each, shock) for each in uniform.tolist()]
        fault = np.array([int(each) for each, _ in mishaps])
        late_by = np.array([told - shock for _, told in mishaps])
        sound = np.flatnonzero(fault == NewsFault.NONE)
        main = 3 if cause is Cause.MACRO else 2
        for which in range(main):
            # Everybody who is told of at all is tagged by the first story or by one of the others.
            tagged = sound[uniform[sound, 4 + which] < 0.6]
            if which == 0:
                tagged = sound[(uniform[sound, 4] < 0.6) | (uniform[sound, 5] >= 0.6)]
            self._spread(
                desk,
                cause,
                tone,
                scope,
                sector,
                company[tagged],
                shock,
                shock,
                NewsFault.NONE,
                stories[which],
                2 if which == 0 else 1,
            )
        for late in range(1, LATE_BY + 1):
            tagged = np.flatnonzero((fault == NewsFault.LATE) & (late_by == late))
            if shock + late < desk.times.end:
                draws = stories[main - 1 + late]
                self._spread(
                    desk, cause, tone, scope, sector, company[tagged], shock + late, shock, NewsFault.LATE, draws, 0
                )
        for row in np.flatnonzero(fault == NewsFault.MISATTRIBUTED).tolist():
            whom = int(company[row])
            story = _Story(
                Tone.COMPANY_DOWN if down else Tone.COMPANY_UP, "company", shock,
                desk.times.of_event(shock, uniform[row, 4:7], on_time=True), uniform[row].tolist(), [whom], [whom],
                whom,
                int(self.books.character.sector[whom]), int(cause), shock, NewsFault.MISATTRIBUTED, float(size[row]),
                alarm=-1 if down else 1,
            )  # fmt: skip
            self._print(desk, story, copies=0)
        for whom in company[fault == NewsFault.MISSING].tolist():
            _leave_out(desk, whom, cause, shock)

    def _spread(
        self, desk: _Desk, cause: Cause, tone: Tone, scope: str, sector: int, tags: Ints, told: int, shock: int,
        fault: NewsFault, uniform: Floats, copies: int,
    ) -> None:  # fmt: skip
        if len(tags) == 0:
            return
        published = desk.times.of_event(told, uniform[4:7], on_time=told == shock)
        whom = tags.tolist()
        draws = uniform.tolist()
        story = _Story(tone, scope, told, published, draws, whom, whom, -1, sector, int(cause), shock, fault)
        self._print(desk, story, copies)

    def _everyday(self, desk: _Desk, block: int, span: range) -> None:
        """Articles without an effect on prices; a few of them read as if they had one."""
        market, books = self.books.market, self.books
        draws = market.draws.generator(Stream.NEWS_NOISE, block)
        happens = draws.random((market.slots, WEEKDAYS))[:, : len(span)] < EVERYDAY_CHANCE
        uniform = draws.random((market.slots, WEEKDAYS, 12))
        slot, day = np.nonzero(happens & (market.register.number[:, span.start : span.stop] >= 0))
        company = books.company_at(slot, span.start + day)
        drawn, whom_of, told_of = uniform[slot, day].tolist(), company.tolist(), (span.start + day).tolist()
        sectors = books.character.sector.tolist()
        for row in range(len(slot)):
            draw, whom, told = drawn[row], whom_of[row], told_of[row]
            sector, alarm, scope = sectors[whom], 0, "company"
            kind = draw[2]
            if kind < ALARM_SHARE:
                alarm = -1 if kind < ALARM_SHARE * ALARM_DOWN else 1
                tone = Tone.COMPANY_DOWN if alarm < 0 else Tone.COMPANY_UP
            elif kind < 0.14:
                tone, scope = Tone.SECTOR_CHATTER, "sector"
            elif kind < 0.34:
                tone = Tone.MILD_UP
            elif kind < 0.50:
                tone = Tone.MILD_DOWN
            else:
                tone = Tone.EVERYDAY
            story = _Story(
                tone, scope, told, desk.times.within(told, draw[3]), [*draw, *draw[4:8]], [whom], [whom],
                whom if scope == "company" else -1, sector, -1, -1, NewsFault.NONE, 0.04 + 0.1 * draw[4], alarm=alarm,
            )  # fmt: skip
            self._print(desk, story, copies=1 if draw[1] < 0.1 else 0)

    def _round_ups(self, desk: _Desk, span: range, uniform: Floats) -> None:
        """What the market did, told after the close: it can be read on the next session."""
        market = self.books.market
        close = market.close[market.benchmark_row]
        for day, at in enumerate(span):
            draw = uniform[day].tolist()
            if draw[0] >= WRAP_CHANCE or at == 0 or at + 1 >= desk.times.end:
                continue
            move = float(np.log(close[at] / close[at - 1]))
            tone = Tone.WRAP_FLAT if abs(move) < 0.004 else Tone.WRAP_DOWN if move < 0 else Tone.WRAP_UP
            listed = self._listed(at, -1, -1)
            tags = sorted({listed[int(each * len(listed))] for each in draw[1 : 1 + WRAP_TAGS]})
            published = desk.times.close(at) + timedelta(minutes=15 + int(90 * draw[8]))
            story = _Story(
                tone, "market", at + 1, published, [*draw[-5:], *draw[:-5]], tags, tags, -1, -1, -1, -1, NewsFault.NONE
            )
            self._print(desk, story, copies=0)

    def _listed(self, position: int, sector: int, apart: int) -> list[int]:
        """Companies listed on the session, of one sector or (-1) of all, but one."""
        slots = np.arange(self.books.market.slots)
        company = self.books.company_at(slots, np.full(len(slots), position))
        company = company[(company >= 0) & (company != apart)]
        of_sector = company if sector < 0 else company[self.books.character.sector[company] == sector]
        return [int(each) for each in of_sector]

    def _print(self, desk: _Desk, story: _Story, copies: int) -> None:
        """Put a story and its reprints on the desk, one row a tag."""
        draw = story.uniform
        title = self._title(story)
        slug = _CONTROL.sub("-", title.lower())[:48].strip("-")
        direction = DIRECTION[story.tone]
        first = int(draw[9] * len(PUBLISHERS))
        summaries = SUMMARIES[direction]
        for copy in range(copies + 1):
            place = (first + 3 * copy) % len(PUBLISHERS)
            publisher = PUBLISHERS[place]
            published = story.published + timedelta(minutes=int(copy * (4 + 20 * draw[10])))
            headline = title
            if copy:
                form = COPIES[int(draw[11] * len(COPIES) + copy) % len(COPIES)]
                headline = form.format(title=title, publisher=publisher)
            host = _CONTROL.sub("-", publisher.lower())
            url = f"https://{host}.invalid/{published:%Y/%m/%d}/{slug}-{desk.serial:x}"
            desk.serial += 1
            available = published + timedelta(minutes=2 + int(12 * draw[8]))
            chance = (draw[12] * 7 + copy / 3) % 1
            likely = {"company": 0.6, "sector": 0.3, "market": 0.1}[story.scope]
            spread = round(likely + 0.35 * draw[13], 2) if draw[14] < 0.8 else None
            score = (draw[15] * 11) % 1
            sentiment = round(0.55 * direction + 0.4 * (draw[13] - 0.5), 2) if score < SENTIMENT_SAID else None
            article = (
                headline,
                summaries[int(draw[10] * len(summaries))] if draw[11] < 0.65 else None,
                url,
                publisher,
                None if chance < SCOPE_UNSAID else story.scope,
                spread,
                sentiment,
                available,
                story.told,
                story.about,
            )
            key = blake2b(url.encode(), digest_size=16).hexdigest()
            for tag, subject in zip(story.tags, story.subjects, strict=True):
                of = subject if story.about >= 0 else None
                at = story.shock if story.about >= 0 else None
                desk.rows.append((key, tag, published, *article, of, at, int(story.fault), story.alarm))

    def _title(self, story: _Story) -> str:
        draw, templates = story.uniform, TITLES[story.tone]
        name = self.books.market.register.companies[story.named].name if story.named >= 0 else ""
        trade = TRADES[story.sector] if story.sector >= 0 else ""
        currency = {"AUD": "A$"}.get(self.books.market.market.currency, "$")
        actual, expected = story.figures
        return templates[int(draw[6] * 97 % 1 * len(templates))].format(
            name=name,
            short=name.split(" ")[0],
            trade=trade,
            Trade=trade[:1].upper() + trade[1:],
            pct=max(1, round(100 * abs(float(np.expm1(story.size))))),
            amount=f"{currency}{10 * (1 + int(draw[5] * 89))}",
            place=PLACES[int(draw[7] * 31 % 1 * len(PLACES))],
            eps=_money(actual, currency),
            estimate=_money(expected, currency),
        )


class _Times:
    """When articles about the sessions from position `first` to before `end` appear."""

    def __init__(self, books: Books, first: int, end: int) -> None:
        positions, exchange = np.arange(max(first - 1, 0), end), books.market.market.exchange
        self.end = end
        self._first = int(positions[0])
        self._open: list[datetime] = opens(books, positions).tolist()
        self._close: list[datetime] = calendar(exchange).closes(books.market.sessions[positions]).tolist()

    def close(self, position: int) -> datetime:
        """Close of the session."""
        return self._close[position - self._first]

    def within(self, position: int, share: float) -> datetime:
        """A moment between three hours before the open and the last three quarters of an hour of the session."""
        start = self._open[position - self._first] - timedelta(hours=3)
        seconds = (self.close(position) - timedelta(minutes=45) - start).total_seconds()
        return start + timedelta(seconds=int(seconds * share))

    def of_event(self, position: int, uniform: Sequence[float] | Floats, *, on_time: bool) -> datetime:
        """The evening before, before the open, or (late stories always) during the session; UTC without zone."""
        opening = self._open[position - self._first]
        if not on_time or uniform[0] < 0.2:
            seconds = (self.close(position) - opening).total_seconds()
            return opening + timedelta(seconds=int(0.8 * uniform[1] * seconds))
        if uniform[0] < 0.45 and position > self._first:
            return self.close(position - 1) + timedelta(minutes=30 + int(270 * uniform[1]))
        return opening - timedelta(minutes=20 + int(160 * uniform[1]))


def _mishap(uniform: Sequence[float], shock: int) -> tuple[NewsFault, int]:
    """What the press gets wrong about a shock, and the position on which it is told."""
    draw = uniform[0]
    if draw < MISSING:
        return NewsFault.MISSING, shock
    if draw < MISSING + LATE:
        return NewsFault.LATE, shock + 1 + int(uniform[1] * LATE_BY)
    return (NewsFault.MISATTRIBUTED if draw < MISSING + LATE + MISATTRIBUTED else NewsFault.NONE), shock


def _leave_out(desk: _Desk, company: int, cause: Cause, shock: int) -> None:
    """Note that nothing is written about a shock."""
    nothing = (None,) * 9
    desk.rows.append((None, company, *nothing, None, int(cause), company, shock, int(NewsFault.MISSING), 0))


def _money(amount: float, currency: str) -> str:
    return f"{'-' if amount < 0 else ''}{currency}{abs(amount):.2f}"


@cache
def newsroom_of(market: Market, seed: int, companies: int) -> Newsroom:
    """The one newsroom of that market, seed and size in this process."""
    return Newsroom(books_of(market, seed, companies))
