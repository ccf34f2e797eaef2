"""The fictional companies: what they are called and what they are like. What happens to them is in `market.py`.

Symbols are a Q and four digits (with the market's suffix), which no exchange of these markets lists.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Final

import numpy as np

from trading_pipeline.providers.simulated.draws import Draws, Floats, Ints, Stream

SECTORS: Final = (
    "Communication Services",
    "Consumer Discretionary",
    "Consumer Staples",
    "Energy",
    "Financials",
    "Health Care",
    "Industrials",
    "Information Technology",
    "Materials",
    "Real Estate",
    "Utilities",
)
BENCHMARK: Final = "QINDEX"
VOLATILITY_INDEX: Final = "^QVOL"
SYMBOL_PATTERN: Final = re.compile(r"Q\d{4}|QINDEX|\^QVOL")
FIRST_NUMBER: Final = 1001
PAIR: Final = (0, 1)
PAIR_HEDGE_RATIO: Final = 0.8  # of the follower's log price to the leader's

_HEADS: Final = (
    "Alder Ashen Bracken Brindle Calder Cinder Copper Dapple Ember Fallow Fennel Gannet Garnet Hazel Heron "
    "Juniper Kestrel Larch Linden Lunar Marram Mossen Nettle Ochre Osprey Pebble Plover Quill Rowan Russet "
    "Sable Sorrel Tansy Teasel Thistle Umber Velvet Willow Wren Yarrow "
    "Auburn Barley Bramble Cobble Dusken Feather Gorse Hemlock Ivory Kelpen Lichen Maple Nimbus Oaken Pewter Quartz "
    "Rushen Saffron Timber Vesper "
)
_TAILS: Final = (
    "barrow brook combe croft dale fell field ford garth holt hollow lea mere moor ridge shaw stead thorpe vale wick"
)
_NOUNS: Final = (
    ("Broadcasting", "Telephony", "Publishing", "Studios"),
    ("Outfitters", "Carriages", "Furnishings", "Resorts"),
    ("Granaries", "Dairies", "Provisions", "Breweries"),
    ("Collieries", "Drilling", "Refining", "Pipelines"),
    ("Assurance", "Bancorp", "Savings", "Underwriters"),
    ("Apothecaries", "Biologics", "Clinics", "Diagnostics"),
    ("Foundries", "Freight", "Engines", "Shipwrights"),
    ("Computing", "Circuits", "Software", "Instruments"),
    ("Quarries", "Smelting", "Timber", "Chemicals"),
    ("Estates", "Warehouses", "Arcades", "Lettings"),
    ("Waterworks", "Power", "Gasworks", "Grid"),
)


def company_name(sector: int, number: int) -> str:
    """A fictional name that no other company of the sector has: the numbers below 4,800 map one to one."""
    heads, tails, nouns = _HEADS.split(), _TAILS.split(), _NOUNS[sector]
    # 1,471 shares no factor with the 4,800 names of a sector: neighbours in number are none in the lists.
    place = number * 1471 % (len(heads) * len(tails) * len(nouns))
    place, noun = divmod(place, len(nouns))
    head, tail = divmod(place, len(tails))
    return f"{heads[head]}{tails[tail]} {nouns[noun]}"


@dataclass
class Company:
    """A company over its life. Positions are indices of sessions from the market's first one.

    spans: (symbol, first position, last position or None while it is used). generation: companies that its slot had
    before it. announced: position at which its end is announced.
    """

    slot: int
    sector: int
    name: str
    first: int
    last: int | None
    ending: str | None = None
    spans: list[tuple[str, int, int | None]] = field(default_factory=list)
    generation: int = 0
    announced: int | None = None

    @property
    def first_symbol(self) -> str:
        """The symbol it listed under: what its instrument id is made of."""
        return self.spans[0][0]

    def symbol_at(self, position: int) -> str:
        """The symbol it traded under; before its listing the first one, after its end the last one."""
        used = [symbol for symbol, first, _ in self.spans if first <= position]
        return used[-1] if used else self.first_symbol


@dataclass
class Traits:
    """What companies are like: one array each, one entry per slot.

    beta, sector_beta: loadings on the market's and the sector's factor. volatility: idiosyncratic, daily. drift: daily
    log. price: of the first session. log_shares: natural log of shares outstanding. turnover: share of them traded on a
    quiet day. dividend_yield: per year, 0 for those that pay none. split_above: price that brings a split, inf for
    those that never split. split_target: price a split aims at. earnings_day, dividend_day: session of the quarter.
    earnings_volatility: of the jump.
    """

    sector: Ints
    beta: Floats
    sector_beta: Floats
    volatility: Floats
    drift: Floats
    price: Floats
    log_shares: Floats
    turnover: Floats
    dividend_yield: Floats
    split_above: Floats
    split_target: Floats
    earnings_day: Ints
    dividend_day: Ints
    earnings_volatility: Floats

    def replace(self, slots: Ints, other: Traits) -> None:
        """Companies of `other` take over the given slots."""
        for name, values in vars(self).items():
            values[slots] = getattr(other, name)[slots]


def sectors_of(generation: int, slots: int) -> Ints:
    """Sector of each slot's company; all sectors are about equally large, and the pair shares one."""
    sector = (np.arange(slots) + 5 * generation) % len(SECTORS)
    sector[PAIR[1]] = sector[PAIR[0]]
    return sector


def draw_traits(draws: Draws, generation: int, slots: int) -> Traits:
    """What the companies of a generation are like, one per slot."""
    normal = draws.generator(Stream.COMPANY_TRAITS, generation).standard_normal((slots, 8)).T
    uniform = draws.generator(Stream.COMPANY_UNIFORMS, generation).random((slots, 8)).T
    price = np.round(np.exp(np.log(48) + 0.6 * normal[0]).clip(6, 190), 2)
    value = np.exp(np.log(1.5e10) + 1.3 * normal[1])
    late = uniform[3] < 0.5
    traits = Traits(
        sector=sectors_of(generation, slots),
        beta=np.clip(1 + 0.28 * normal[2], 0.35, 1.9),
        sector_beta=np.clip(1 + 0.22 * normal[3], 0.4, 1.6),
        volatility=np.clip(0.0115 * np.exp(0.32 * normal[4]), 0.005, 0.03),
        drift=0.0001 * normal[5],
        price=price,
        log_shares=np.log(np.round(value / price, -3)),
        turnover=0.004 * np.exp(0.45 * normal[6]),
        dividend_yield=np.where(uniform[0] < 0.55, 0.008 + 0.034 * uniform[1], 0.0),
        split_above=np.where(uniform[2] < 0.85, 110 + 290 * uniform[4], np.inf),
        split_target=35 + 60 * uniform[5],
        earnings_day=(16 + 26 * uniform[6]).astype(np.int64),
        dividend_day=np.where(late, 45 + 9 * uniform[7], 5 + 9 * uniform[7]).astype(np.int64),
        earnings_volatility=0.028 * np.exp(0.35 * normal[7]),
    )
    leader, follower = PAIR
    for loading in (traits.beta, traits.sector_beta):
        loading[follower] = PAIR_HEDGE_RATIO * loading[leader]
    return traits
