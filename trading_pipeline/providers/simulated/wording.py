"""What the simulated press writes: headline templates by what happened, and the words that fill them.

What belongs here: wording alone. When what is written, and about whom, is in `newsroom.py`. No headline names its cause
as a label; a reader, or a lexicon, has to understand it. Companies, places and publishers are fictional, offices carry
no names.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Final


class Tone(StrEnum):
    """What a headline says; the key of its templates."""

    COMPANY_DOWN = "company_down"
    COMPANY_UP = "company_up"
    TAKEOVER = "takeover"
    FAILURE = "failure"
    BEAT = "beat"
    MISS = "miss"
    IN_LINE = "in_line"
    FALLS_ON_REPORT = "falls_on_report"
    RISES_ON_REPORT = "rises_on_report"
    SECTOR_DOWN = "sector_down"
    SECTOR_UP = "sector_up"
    SECTOR_CHATTER = "sector_chatter"
    MACRO_DOWN = "macro_down"
    MACRO_UP = "macro_up"
    WRAP_DOWN = "wrap_down"
    WRAP_UP = "wrap_up"
    WRAP_FLAT = "wrap_flat"
    EVERYDAY = "everyday"
    MILD_UP = "mild_up"
    MILD_DOWN = "mild_down"


DIRECTION: Final = {
    Tone.COMPANY_DOWN: -1, Tone.FAILURE: -1, Tone.MISS: -1, Tone.FALLS_ON_REPORT: -1, Tone.SECTOR_DOWN: -1,
    Tone.MACRO_DOWN: -1, Tone.WRAP_DOWN: -1, Tone.MILD_DOWN: -1,
    Tone.COMPANY_UP: 1, Tone.TAKEOVER: 1, Tone.BEAT: 1, Tone.RISES_ON_REPORT: 1, Tone.SECTOR_UP: 1, Tone.MACRO_UP: 1,
    Tone.WRAP_UP: 1, Tone.MILD_UP: 1,
    Tone.IN_LINE: 0, Tone.SECTOR_CHATTER: 0, Tone.WRAP_FLAT: 0, Tone.EVERYDAY: 0,
}  # fmt: skip

# {name} company, {short} its first word, {trade} its sector in plural, {pct} a whole number, {amount} millions,
# {place} a town, {eps} and {estimate} amounts a share.
TITLES: Final[dict[Tone, tuple[str, ...]]] = {
    Tone.COMPANY_DOWN: (
        "{name} slumps after it cuts full-year outlook",
        "{name} slashes guidance, blaming weak orders",
        "{short} warns of loss as largest customer walks away",
        "{name} loses {amount} million contract to rival",
        "{name} recalls products after safety failures in {place}",
        "{short} halts production at {place} plant after fire",
        "{name} sued over defects, plaintiffs seek {amount} million",
        "Prosecutors open fraud probe into {name}",
        "{name} delays accounts as auditor raises doubts",
        "{name} finance chief quits abruptly",
        "Chief executive of {name} ousted after boardroom dispute",
        "Regulator rejects {short}'s flagship application",
        "{name} fined {amount} million over misconduct in {place}",
        "{name} shares plunge {pct}% on disappointing trading update",
        "{short} hit by cyberattack, systems down for days",
        "{name} to restate results after accounting errors",
        "Short seller accuses {name} of inflating sales",
        "{name} suspends dividend, warns on debt covenants",
        "{short} writes off {amount} million on failed expansion in {place}",
        "Strike shuts {name} sites, shipments delayed",
        "{name} plunges as key trial of new line fails",
        "{name} discloses bribery investigation at {place} unit",
        "{short} announces heavily discounted share sale, stock tumbles",
        "Court rules against {name} in patent case",
        "{name} loses licence in {place}, shares sink",
    ),
    Tone.COMPANY_UP: (
        "{name} wins {amount} million contract in {place}",
        "{name} raises full-year outlook on strong orders",
        "Regulator clears {short}'s flagship application",
        "{name} surges {pct}% after breakthrough in {place}",
        "{short} to buy back {amount} million of its shares",
        "{name} settles long-running dispute on favourable terms",
        "{name} lands its largest customer yet, shares jump",
        "Activist investor builds stake in {name}, shares rally",
        "{short} lifts guidance as margins improve",
        "Court sides with {name} in patent case, stock soars",
        "{name} sells loss-making {place} unit at a premium",
        "{name} upgraded by analysts after strong trading update",
    ),
    Tone.TAKEOVER: (
        "{name} agrees to be taken private at a premium",
        "{name} accepts {amount} million takeover offer",
        "Bidder agrees deal to buy {name}, shares soar",
        "Board of {name} recommends cash offer",
    ),
    Tone.FAILURE: (
        "{name} files for protection from creditors",
        "{name} lenders call in loans, shares collapse",
        "{name} says there is substantial doubt it can continue",
        "{short} appoints administrators after funding fails",
    ),
    Tone.BEAT: (
        "{name} quarterly profit of {eps} a share tops estimates of {estimate}",
        "{name} beats expectations with earnings of {eps} a share",
        "{short} reports stronger quarter than analysts expected",
        "Quarterly results: {name} earns {eps} a share, above consensus",
        "{name} posts upbeat quarter as sales grow",
        "{short} profit ahead of forecasts",
    ),
    Tone.MISS: (
        "{name} quarterly profit of {eps} a share misses estimates of {estimate}",
        "{name} falls short of expectations with earnings of {eps} a share",
        "{short} reports weaker quarter than analysts expected",
        "Quarterly results: {name} earns {eps} a share, below consensus",
        "{name} posts disappointing quarter as costs rise",
        "{short} profit behind forecasts",
    ),
    Tone.IN_LINE: (
        "{name} earns {eps} a share in the quarter, as expected",
        "{name} quarterly results in line with forecasts",
        "{short} reports quarter, outlook unchanged",
    ),
    Tone.FALLS_ON_REPORT: (
        "{name} tumbles {pct}% after quarterly report",
        "{name} shares drop as results fail to convince",
        "Investors punish {short} after earnings call",
        "{name} sinks on quarterly numbers, cautious forecast",
    ),
    Tone.RISES_ON_REPORT: (
        "{name} jumps {pct}% after quarterly report",
        "{name} shares climb as results impress",
        "Investors cheer {short} after earnings call",
        "{name} rallies on quarterly numbers, confident forecast",
    ),
    Tone.SECTOR_DOWN: (
        "{Trade} slump as new levy is proposed",
        "Selloff hits {trade} across the board",
        "{Trade} tumble on fears of tighter regulation",
        "Weak demand figures weigh on {trade}",
        "{Trade} under pressure after industry group warns on prices",
        "Analysts turn cautious on {trade}, downgrade whole group",
        "Investors flee {trade} as input costs surge",
        "Lawmakers target {trade}, shares fall",
        "{Trade} slide after peer overseas issues profit warning",
        "Supply glut sends {trade} lower",
    ),
    Tone.SECTOR_UP: (
        "{Trade} rally as planned levy is dropped",
        "{Trade} climb on hopes of lighter regulation",
        "Strong demand figures lift {trade}",
        "Analysts upgrade {trade} on improving prices",
        "Investors return to {trade} as input costs ease",
        "{Trade} jump after industry group raises forecast",
    ),
    Tone.SECTOR_CHATTER: (
        "What to watch among {trade} this week",
        "{Trade}: five charts on the state of the industry",
        "Industry meeting of {trade} opens in {place}",
        "How {trade} are spending their cash",
        "Survey: {trade} expect a steady year",
    ),
    Tone.MACRO_DOWN: (
        "Stocks plunge as central bank raises rates more than expected",
        "Markets tumble worldwide on recession fears",
        "Wave of selling hits stocks after hot inflation data",
        "Equities sink as trade tariffs take effect",
        "Stock market suffers worst day in months as bond yields spike",
        "Global selloff deepens after surprise jobs report",
        "Investors dump shares as banking stress spreads",
        "Stocks slide as oil price shock rattles economies",
        "Indexes drop sharply on fears of war",
        "Markets rout: nearly all shares fall as growth outlook darkens",
        "Shutdown fears send stocks lower across all sectors",
        "Currency turmoil abroad triggers broad market decline",
    ),
    Tone.MACRO_UP: (
        "Stocks surge as central bank signals rate cuts",
        "Markets rally worldwide on cooling inflation",
        "Equities jump as trade deal lifts tariffs",
        "Relief rally: indexes post best day in months",
        "Broad advance as growth data beat forecasts",
        "Stock market soars after ceasefire news",
    ),
    Tone.WRAP_DOWN: (
        "Stocks close lower in broad decline",
        "Closing bell: indexes fall as sellers dominate",
        "Wall of worry: equities end the day in the red",
        "Market wrap: shares slip, volatility rises",
    ),
    Tone.WRAP_UP: (
        "Stocks close higher in broad advance",
        "Closing bell: indexes gain as buyers return",
        "Market wrap: shares climb, volatility eases",
        "Equities end the day in the green",
    ),
    Tone.WRAP_FLAT: (
        "Stocks end mixed in quiet trading",
        "Closing bell: indexes little changed",
        "Market wrap: a day without direction",
        "Equities drift ahead of data",
    ),
    Tone.EVERYDAY: (
        "{name} to speak at investor conference in {place}",
        "{name} opens office in {place}",
        "{name} appoints new head of operations",
        "{name} announces date of annual meeting",
        "{name} declares regular quarterly dividend",
        "A closer look at {name}'s balance sheet",
        "{short} renews partnership with supplier in {place}",
        "{name} moves headquarters within {place}",
        "{name} publishes sustainability report",
        "How {name} plans its next decade",
        "{name} to present new catalogue in {place}",
        "Insider at {name} sells small holding under plan",
        "{short} joins industry standards body",
        "Options activity in {name} picks up",
        "{name} schedules conference call",
        "Where analysts see {name} in twelve months",
    ),
    Tone.MILD_UP: (
        "{name} extends winning streak",
        "{short} expands popular line to {place}",
        "Broker initiates {name} with a positive view",
        "{name} named among best employers in {place}",
        "{name} completes modernisation on time",
        "{short} gains approval for minor upgrade",
        "Why {name} looks attractive to patient investors",
        "{name} wins award for efficiency",
    ),
    Tone.MILD_DOWN: (
        "Broker trims target for {name}",
        "{short} faces minor delay at {place} site",
        "{name} lags peers this month",
        "Small shareholder criticises pay at {name}",
        "{name} closes unprofitable branch in {place}",
        "Why some investors are wary of {name}",
        "{short} customers complain about price increase",
        "{name} drops out of local index in {place}",
    ),
}

SUMMARIES: Final[dict[int, tuple[str, ...]]] = {
    -1: (
        "Investors sold after the news; analysts called it a disappointment.",
        "The announcement weighed on sentiment, and several brokers cut their forecasts.",
        "Trading was heavy as holders reduced their exposure.",
    ),
    0: (
        "No change to the outlook was given.",
        "The details were published on the usual channels.",
        "Analysts saw little effect on forecasts.",
    ),
    1: (
        "Investors welcomed the news; analysts called it encouraging.",
        "The announcement lifted sentiment, and several brokers raised their forecasts.",
        "Trading was heavy as buyers came in.",
    ),
}

TRADES: Final = (
    "media and telecom groups",
    "retailers and leisure companies",
    "food and household goods makers",
    "oil and gas producers",
    "lenders and insurers",
    "drugmakers and clinics",
    "manufacturers and hauliers",
    "chip and software companies",
    "miners and chemicals makers",
    "landlords and property trusts",
    "power and water suppliers",
)
PUBLISHERS: Final = (
    "Meridian Wire",
    "Ledger & Tape",
    "The Daily Tick",
    "Quayside Business",
    "Northgate Markets",
    "Open Outcry",
    "Harbour Financial",
    "The Closing Print",
)
PLACES: Final = (
    "Aldmere", "Brackwater", "Corvenby", "Dunsholt", "Eastvale", "Fenwick Quay", "Glasswell", "Hollowmere", "Ironbeck",
    "Kelstow", "Lowmarsh", "Mossgate", "Northolm", "Ostwick", "Port Carrow", "Ravenholt",
)  # fmt: skip
# How other publishers print the same story.
COPIES: Final = ("{title} - {publisher}", "UPDATE 1-{title}", "{title} | {publisher}", "{title}")
