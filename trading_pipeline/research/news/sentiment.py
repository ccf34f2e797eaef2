"""Sentiment of a headline for the company it is about: VADER's rules with a lexicon of the market's words.

What belongs here: the words, the phrases and the number moves of financial headlines. What does not: choosing between
this and a provider's own score (the package's `__init__`).

VADER (Hutto and Gilbert, 2014) adds up the valence of words, -4 to 4, with rules for negation, degree and contrast, and
maps the sum s to s / sqrt(s^2 + 15). Its own words are those of social media: `share` is kind, `crude` is rude, and
`beats` says nothing. Three things are changed before its rules apply:

- words that mean something else in the market lose their valence (`_NEUTRAL`), words of the market get one (`_WORDS`);
- phrases whose words mislead one by one (`losses narrow`, `cuts debt`, `profit warning`) become one word (`_PHRASES`);
- a move by a per cent number (`up 6%`, `falls 5 pct`) becomes one word, stronger from 5 per cent on.

The words were written from how such headlines are worded, and errors looked at on one half of the labelled headlines
alone; what the model reaches on the other half stands in the test of real data.
"""

from __future__ import annotations

import re
from functools import cache
from typing import TYPE_CHECKING

import polars as pl

if TYPE_CHECKING:
    from vaderSentiment.vaderSentiment import SentimentIntensityAnalyzer

# Valence of the words in a line, -4 to 4, as VADER counts.
_WORDS: tuple[tuple[float, str], ...] = (
    (
        3.0,
        """
        soar soars soared soaring surge surges surged surging skyrocket skyrockets skyrocketed rocket rockets rocketed
        blowout windfall
        """,
    ),
    (
        2.6,
        """
        jump jumps jumped jumping rally rallies rallied rallying upgrade upgrades upgraded upgrading outperform
        outperforms outperformed outperforming beat beats beating trounce trounces trounced smash smashes smashed
        top-pick overweight
        """,
    ),
    (
        2.1,
        """
        climb climbs climbed climbing leap leaps leaped leapt spike spikes spiked rebound rebounds rebounded rebounding
        bounce bounces bounced exceed exceeds exceeded exceeding surpass surpasses surpassed tops topped topping
        approve approves approved approval approvals clears cleared clearance breakthrough boost boosts boosted boosting
        bullish upbeat profitable accelerate accelerates accelerated accelerating outpace outpaces outpaced
        turnaround recover recovers recovered recovering resilient thrive thrives thriving boom booms booming
        lift lifts lifted uplift undervalued upside
        """,
    ),
    (
        1.6,
        """
        rise rises rose risen rising advance advances advanced advancing increase increases increased increasing gain
        gains gained gaining grow grows grew grown growth growing expand expands expanded expanding expansion raise
        raises raised raising hike hikes hiked win wins won winning award awarded awards secure secures secured
        improve improves improved improving improvement strong stronger strongest strength robust solid record
        profit profits profitability outperformance buyback buybacks repurchase dividend dividends special-dividend
        reinstate reinstates reinstated resume resumes resumed reaffirm reaffirms reaffirmed delivers momentum buoyed
        buoys buoyant positive optimistic optimism confident confidence highs synergy synergies breakup-bid
        exonerated cleared-of dismissal ahead tailwind tailwinds oversubscribed rerating
        """,
    ),
    (
        0.9,
        """
        partner partners partnered partnership alliance collaborate collaborates collaboration acquire acquires
        acquired acquisition buys bought purchase takeover merger merge merges tie-up bid offer deal agreement agrees
        sign signs signed contract contracts order orders launch launches launched unveil unveils unveiled invest
        invests invested investment backs backed joins expects open opens opening hire hires create creates innovative
        innovation stake venture license licenses licence patent patents selected chosen supports targets demand
        refinance refinances refinancing
        """,
    ),
    (
        -0.8,
        """
        delay delays delayed delaying cautious caution cautions cautioned uncertain uncertainty uncertainties
        volatile volatility restructure restructures restructuring overhaul resign resigns resigned resignation retire
        departs departure departures exit exits exited quits quit leaves vacate closure closures close-down concern
        concerns doubt doubts pressure pressured pressures halt halts halted freeze freezes frozen settle settles
        settled dispute disputes protest protests protesters criticised criticized criticism rejected divest divests
        cost costs expense expenses
        """,
    ),
    (
        -1.5,
        """
        fall falls fell fallen falling drop drops dropped dropping decline declines declined declining decrease
        decreases decreased decreasing slip slips slipped slipping slide slides slid sliding dip dips dipped dipping
        ease eases eased retreat retreats retreated lower lowers lowered lowering reduce reduces reduced reducing
        reduction cut cuts cutting trim trims trimmed weak weaker weakest weakness weaken weakens weakened soft softer
        sluggish slow slows slowed slower slowdown slowing lag lags lagged lagging struggle struggles struggled
        struggling hurt hurts hurting drag drags dragged weigh weighs weighed lose loses losing lost loss losses
        miss misses missed missing shortfall underperform underperforms underperformed underweight negative bearish
        pessimistic headwind headwinds overvalued downside worry worries worried worrying fear fears jitters gloom
        dilution dilutive dilutes impairment impairments write-down writedown writedowns write-off writeoff charge
        shrink shrinks shrank shrinking suspend suspends suspended suspension ban bans banned bar bars barred fine
        fines fined penalty penalties sue sues sued suing lawsuit lawsuits litigation complaint allegation allegations
        alleges alleged accuse accuses accused probe probes probed investigate investigates investigated investigation
        investigations inquiry subpoena subpoenas subpoenaed scrutiny antitrust recall recalls recalled recalling
        outage outages breach breached hack hacked cyberattack strike strikes layoff layoffs axe axes axed slash
        slashes slashed slashing shed sheds downturn setback setbacks hits toll jeopardy disappoint disappoints
        disappointed disappointing disappointment subdued disrupted disruption shuts shut overproduction shortage
        shortages lows debt unprofitable withdraws withdrew withdrawn withdraw sanction sanctions
        """,
    ),
    (
        -2.4,
        """
        downgrade downgrades downgraded downgrading plunge plunges plunged plunging plummet plummets plummeted
        plummeting tumble tumbles tumbled tumbling slump slumps slumped slumping sink sinks sank sunk sinking tank
        tanks tanked tanking dive dives dived nosedive nosedives skid skids crater craters cratered rout selloff
        sell-off meltdown collapse collapses collapsed collapsing crash crashes crashed crashing crisis scandal
        scandals fraud fraudulent default defaults defaulted misconduct wrongdoing guilty convicted jailed indicted
        indictment manipulation rigging junk warns warned warning warnings insolvent insolvency distressed delist
        delisted delisting panic fails failed failure
        """,
    ),
    (-3.2, "bankrupt bankruptcy bankruptcies liquidation embezzlement ponzi"),
)

# Words whose everyday valence is not the market's.
_NEUTRAL = """
    share shares shared sharing interest interests interested gross crude trust trusts trustee security securities
    united energy energetic vice like well fun play plays player players treasury treasuries value values free
    freedom safe safety alert care cares caring hand grand great chief leading leader leaders champion natural
    true pay pays paid paying kind block blocks matter matters party parties appeal appeals challenge
    ready reach reaches number please dear art best better top good fresh yes lower-cost premium bond bonds equity
    credit credits asset assets pretty giant giants warm heaven wealth wealthy luck demand demands sir miner miners
    sentence war wars battle fight fights attack tough hard cancer drug drugs disease tumor pain death kill kills
    killed dead gun guns alarm emergency fire fires fired gas oil help helps helped thanks thank hope hopes join
"""

# Tried in this order on the lower-case text; each match becomes one word with that valence.
_FALLING = r"(?:fall|drop|declin|narrow|shr[ai]n|eas|slow|trim|reduc|lower|cut)\w*"
_GROWING = r"(?:ris|rose|wid|grow|grew|jump|soar|surg|climb|mount|increas|swell|balloon|deep)\w*"
_BURDEN = r"(?:loss|losses|debts?|debt load|costs?|expenses?|bad loans|impairments?|outflows?|inventories|shortfall)"
_EARNED = r"(?:profits?|sales|revenues?|earnings|income|eps|output|orders|deliveries|margins?)"
_FALLING_HARD = (
    r"(?:fall|fell|drop|declin|down|slid|slip|slump|plung|tumbl|collaps|sink|sank|shrank|shrink|miss|hurt)\w*"
)
_GAP = r"(?:[\w$.,%'&-]+ ){0,2}"
_RESULT = r"(?:estimates|expectations|forecasts?|consensus|views|targets|hopes)"
_OUTLOOK = r"(?:guidance|outlook|forecasts?|targets?|estimates|view)"
_RAISING = r"(?:rais|lift|hik|boost|up|increas|upgrad)(?:e|es|ed|ing|s|ped|ts|ted)?"
_CUTTING = r"(?:cut|cuts|cutting|slash\w*|lower\w*|trim\w*|reduc\w*|withdr[ae]w\w*|drop\w*|suspend\w*|scrap\w*|axe\w*)"
_PHRASES: tuple[tuple[str, float], ...] = (
    (rf"{_BURDEN} {_FALLING}", 1.8),
    (rf"{_BURDEN} {_GROWING}", -2.2),
    (rf"{_EARNED} {_FALLING_HARD}", -2.6),
    (rf"{_EARNED} {_GROWING}|{_EARNED} up", 2.4),
    (r"(?:posts?|reports?|books?|surprise|net|pretax) (?:[\w$.,-]+ ){0,4}loss", -2.8),
    (r"[\d.]+ ?(?:bn|billion|million|mln|m) loss", -2.8),
    (r"(?:agrees? to|must|ordered to|forced to) pay", -2.2),
    (r"(?:opens?|launch\w*|begins?|starts?) (?:[\w-]+ ){0,3}(?:probe|investigation|inquiry)", -2.2),
    (rf"miss\w* {_GAP}{_RESULT}", -2.6),
    (rf"(?:beat|top|exceed|surpass)\w* {_GAP}{_RESULT}", 2.8),
    (rf"(?:rais|flag|voic)\w+ {_GAP}(?:concerns?|doubts?|questions?)", -1.8),
    (
        rf"(?:dispel|reject|den[iy]|dismiss|play\w* down)\w* {_GAP}(?:fears?|rumou?rs?|claims?|allegations?|reports?)",
        0.3,
    ),
    (rf"(?:wid|deep)\w+ {_GAP}loss\w*", -2.4),
    (rf"{_FALLING} {_GAP}loss\w*", 1.2),
    (rf"(?:cut|cuts|cutting|reduc\w*|trim\w*|lower\w*|slash\w*) {_GAP}(?:debt|costs?|expenses?|losses)", 0.9),
    (r"cost[ -]cut\w*|cost savings?", 0.5),
    (r"swing\w* to (?:a )?(?:\w+ )?profit|back (?:in|to) (?:the black|profit)", 2.6),
    (r"swing\w* to (?:a )?(?:\w+ )?loss|into the red", -2.6),
    (r"profit warnings?|warns? on (?:profit|earnings|sales|outlook)", -3.0),
    (rf"{_RAISING} {_GAP}{_GAP}{_OUTLOOK}", 2.6),
    (rf"{_CUTTING} {_GAP}{_GAP}{_OUTLOOK}", -2.6),
    (rf"{_CUTTING} {_GAP}dividends?|dividend (?:cut|suspension|suspended)", -2.6),
    (rf"{_RAISING} {_GAP}dividends?|special dividend|dividend (?:hike|increase)", 2.0),
    (
        rf"(?:job|jobs|staff|workforce|headcount) cuts?|(?:{_CUTTING}|shed\w*) {_GAP}(?:jobs|staff|workers|workforce)",
        -1.5,
    ),
    (r"(?:cut|cuts|reduc\w*|lower\w*|trim\w*|sell\w*) (?:\w+ ){0,3}stake", -0.8),
    (r"rate hikes?|interest rate rises?", -0.5),
    (rf"(?:better|stronger|higher)[ -]than[ -](?:expected|forecast)|(?:above|ahead of) {_RESULT}|tops? {_RESULT}", 2.6),
    (rf"(?:worse|weaker|lower)[ -]than[ -](?:expected|forecast)|(?:below|short of) {_RESULT}|disappoint\w*", -2.6),
    (r"(?:comes?|came|falls?|fell) (?:up )?short", -2.2),
    (r"(?:record|all[ -]time|multi[ -]year|\w+[ -](?:month|year|week)) (?:closing )?highs?", 2.6),
    (r"(?:record|all[ -]time|multi[ -]year|\w+[ -](?:month|year|week)) (?:closing )?lows?", -2.6),
    (r"off (?:record )?highs?", -1.2),
    (r"(?:price )?target (?:raised|lifted|hiked|increased)|(?:rais|lift)\w+ (?:price )?target", 2.2),
    (r"(?:price )?target (?:cut|lowered|trimmed|slashed|reduced)", -2.2),
    (r"cut to (?:sell|hold|neutral|underperform|underweight|reduce|junk)", -2.8),
    (r"(?:raised|ups?|upped|upgraded) (?:\w+ )?to '?(?:buy|outperform|overweight|strong buy)'?", 2.8),
    (r"short[ -]seller\w*|short report", -2.0),
    (r"going concern", -3.0),
    (r"chapter 11", -3.4),
    (r"class action", -2.0),
    (r"data breach", -2.4),
    (r"(?:fda|eu|us|regulators?) (?:approv|clear|okay|ok)\w*", 2.4),
    (r"(?:fda|eu|us|regulators?) (?:reject|den[iy]|block)\w*|complete response letter", -2.6),
    (r"fail(?:s|ed)? to", -2.2),
    (r"mis-?selling", -2.2),
    (r"oil spill|gulf spill|dam burst", -1.2),
    (r"(?:takeover|merger|buyout) (?:approach|interest|bid|offer|talks)", 1.2),
    (r"to be (?:acquired|bought)|(?:gets|receives) (?:\w+ )?(?:bid|offer)", 2.0),
    (r"(?:job|jobs) (?:creation|boost)|creates? [\d,.]+ jobs", 1.6),
    (r"stress tests?|war on|high[ -]frequency", 0.0),
    (r"strikes? (?:\w+ ){0,3}(?:deal|agreement|pact)", 1.2),
    (r"at risk|in doubt|under fire|under pressure", -1.8),
    (r"on track", 1.4),
    (r"joins? forces", 1.2),
    (r"take[s]? (?:its |their |a )?toll", -1.8),
    (r"hit by|hits? the rocks|hit a brick wall", -1.8),
    (r"hits? back", 0.3),
    (r"(?:no|little) (?:growth|profit|gain)", -1.4),
)

_PERCENT = r"(\d+(?:\.\d+)?) ?(?:%|pct\b|percent\b|per cent\b)"
_UP = (
    r"(?:up|gain\w*|ris\w+|rose|climb\w*|jump\w*|surg\w+|soar\w*|rall\w+|advanc\w+|add\w*|grow\w*|grew|higher|"
    r"increas\w+)"
)
_DOWN = (
    r"(?:down|fall\w*|fell|drop\w*|declin\w+|slid\w*|slip\w*|plung\w+|plummet\w*|tumbl\w+|sink\w*|sank|lose\w*|lost|"
    r"shed\w*|decreas\w+|lower|slump\w*|tank\w*|off|dip\w*)"
)
_MOVE = re.compile(
    rf"\b(?:(?P<up>{_UP})|(?P<down>{_DOWN}))(?: (?:by|as much as|nearly|about|over|more than))? {_PERCENT}"
)
_SIGNED = re.compile(rf"(?:(?<=\s)|^)(?P<sign>[+\-\u2212]) ?{_PERCENT}")

LARGE_MOVE = 5.0
"""Per cent from which a move of a price or a result is a large one."""

_MOVES = {"movedup": 2.0, "jumpedup": 2.8, "moveddown": -2.0, "plungeddown": -2.8}


def headline_sentiment(headline: str) -> float:
    """Sentiment of one headline, -1 to 1; 0 where nothing in it has a valence."""
    return float(_model().polarity_scores(_prepared(headline))["compound"])


def headline_sentiments(headlines: pl.Series) -> pl.Series:
    """Sentiment of each headline, -1 to 1, each distinct one judged once; null where there is none."""
    distinct = headlines.drop_nulls().unique()
    scores = {headline: headline_sentiment(headline) for headline in distinct}
    if not scores:
        return pl.Series(headlines.name, [None] * len(headlines), dtype=pl.Float64)
    return headlines.replace_strict(scores, default=None, return_dtype=pl.Float64)


@cache
def _model() -> SentimentIntensityAnalyzer:
    from vaderSentiment.vaderSentiment import SentimentIntensityAnalyzer

    model = SentimentIntensityAnalyzer()
    for word in _NEUTRAL.split():
        model.lexicon.pop(word, None)
    for valence, words in _WORDS:
        model.lexicon.update(dict.fromkeys(words.replace("-", "").split(), valence))
    model.lexicon.update({_name(number): valence for number, (_, valence) in enumerate(_PHRASES)})
    model.lexicon.update(_MOVES)
    return model


@cache
def _patterns() -> list[tuple[re.Pattern[str], str]]:
    return [(re.compile(rf"\b(?:{pattern})(?!\w)"), _name(number)) for number, (pattern, _) in enumerate(_PHRASES)]


def _name(number: int) -> str:
    """A word that no headline holds, of letters alone: VADER takes punctuation off."""
    return "phrase" + "".join(chr(ord("a") + int(digit)) for digit in str(number))


def _prepared(headline: str) -> str:
    text = headline.lower().replace("\u2019", "'").replace("\u2018", "'")
    text = _SIGNED.sub(_signed, _MOVE.sub(_moved, text))
    for pattern, name in _patterns():
        text = pattern.sub(name, text)
    return text.replace("-", " ")


def _moved(match: re.Match[str]) -> str:
    return _move(up=match["up"] is not None, size=float(match[3]))


def _signed(match: re.Match[str]) -> str:
    return _move(up=match["sign"] == "+", size=float(match[2]))


def _move(*, up: bool, size: float) -> str:
    large = size >= LARGE_MOVE
    return ("jumpedup" if large else "movedup") if up else ("plungeddown" if large else "moveddown")
