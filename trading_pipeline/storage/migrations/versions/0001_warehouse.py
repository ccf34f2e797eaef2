"""The first schema: bars, their issues, members, actions, decisions with all their versions, and the shared quotas."""

from alembic import op

revision = "0001"
down_revision = None

_MARKET_DATA = """
CREATE TABLE market_data (
    market          text          NOT NULL,
    ticker          text          NOT NULL,
    date            date          NOT NULL,
    open            numeric(12,4) NOT NULL,
    high            numeric(12,4) NOT NULL,
    low             numeric(12,4) NOT NULL,
    close           numeric(12,4) NOT NULL,
    volume          bigint        NOT NULL,
    adjusted_close  numeric(12,4),
    source          text          NOT NULL,
    data_quality    text          NOT NULL DEFAULT 'good',
    instrument_id   text          NOT NULL,
    created_at      timestamptz   NOT NULL DEFAULT now(),
    updated_at      timestamptz   NOT NULL DEFAULT now(),
    metadata        jsonb         NOT NULL DEFAULT '{}',
    CONSTRAINT market_data_pkey PRIMARY KEY (ticker, date),
    CONSTRAINT market_data_prices_positive CHECK (open > 0 AND high > 0 AND low > 0 AND close > 0),
    CONSTRAINT market_data_high_is_highest CHECK (high >= low AND high >= open AND high >= close),
    CONSTRAINT market_data_low_is_lowest CHECK (low <= open AND low <= close),
    CONSTRAINT market_data_volume_not_negative CHECK (volume >= 0),
    CONSTRAINT market_data_adjusted_close_positive CHECK (adjusted_close > 0),
    CONSTRAINT market_data_quality_known CHECK (data_quality IN ('good', 'suspect', 'bad'))
);
CREATE INDEX market_data_ticker_date_desc ON market_data (ticker, date DESC);

CREATE FUNCTION touch_updated_at() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    NEW.updated_at = now();
    RETURN NEW;
END $$;
CREATE TRIGGER market_data_touch BEFORE UPDATE ON market_data
    FOR EACH ROW WHEN (OLD.* IS DISTINCT FROM NEW.*) EXECUTE FUNCTION touch_updated_at();
"""

_FACTS = """
CREATE TABLE bar_issues (
    market          text             NOT NULL,
    session         date             NOT NULL,
    instrument_id   text             NOT NULL,
    ticker          text             NOT NULL,
    bar_session     date             NOT NULL,
    rule            text             NOT NULL,
    severity        text             NOT NULL,
    detail          text             NOT NULL,
    open            double precision,
    high            double precision,
    low             double precision,
    close           double precision,
    volume          double precision,
    provider        text,
    PRIMARY KEY (market, session, instrument_id, bar_session, rule),
    CONSTRAINT bar_issues_severity_known CHECK (severity IN ('suspect', 'bad', 'rejected'))
);

CREATE TABLE universe_members (
    market          text             NOT NULL,
    session         date             NOT NULL,
    universe        text             NOT NULL,
    instrument_id   text             NOT NULL,
    ticker          text             NOT NULL,
    sector          text,
    source          text             NOT NULL,
    PRIMARY KEY (market, session, universe, instrument_id)
);

CREATE TABLE corporate_actions (
    market          text             NOT NULL,
    session         date             NOT NULL,
    instrument_id   text             NOT NULL,
    ticker          text             NOT NULL,
    kind            text             NOT NULL,
    value           double precision NOT NULL,
    currency        text             NOT NULL,
    provider        text             NOT NULL,
    withdrawn       boolean          NOT NULL,
    rules           text             NOT NULL,
    available_at    timestamptz      NOT NULL,
    known_at        timestamptz      NOT NULL,
    superseded_at   timestamptz,
    PRIMARY KEY (market, session, instrument_id, kind, known_at),
    CONSTRAINT corporate_actions_kind_known CHECK (kind IN ('split', 'dividend', 'capital_gain'))
);
"""

_DECISIONS = """
CREATE TABLE market_regime (
    market            text             NOT NULL,
    session           date             NOT NULL,
    regime            text             NOT NULL,
    environment       text             NOT NULL,
    score             integer          NOT NULL,
    benchmark         text             NOT NULL,
    index_vs_sma_50   double precision,
    index_vs_sma_200  double precision,
    sma_200_slope_21  double precision,
    breadth_50        double precision,
    breadth_200       double precision,
    new_highs         integer          NOT NULL,
    new_lows          integer          NOT NULL,
    volatility        double precision,
    volatility_source text             NOT NULL,
    distribution_days integer,
    members           integer          NOT NULL,
    reasons           text             NOT NULL,
    computed_at       timestamptz      NOT NULL,
    withdrawn         boolean          NOT NULL,
    PRIMARY KEY (market, session, computed_at)
);
CREATE VIEW market_regime_latest AS
    SELECT * FROM (
        SELECT DISTINCT ON (market, session) * FROM market_regime ORDER BY market, session, computed_at DESC
    ) AS newest WHERE NOT withdrawn;

CREATE TABLE dip_opportunities (
    market              text             NOT NULL,
    session             date             NOT NULL,
    instrument_id       text             NOT NULL,
    ticker              text             NOT NULL,
    universes           text             NOT NULL,
    sector              text,
    price               double precision NOT NULL,
    high_252            double precision NOT NULL,
    dip_pct             double precision NOT NULL,
    threshold_pct       double precision NOT NULL,
    sessions_since_high integer          NOT NULL,
    drawdown_percentile double precision,
    fall                double precision,
    market_part         double precision,
    sector_part         double precision,
    company_part        double precision,
    beta_market         double precision,
    beta_sector         double precision,
    environment         text,
    data_quality        text             NOT NULL,
    computed_at         timestamptz      NOT NULL,
    withdrawn           boolean          NOT NULL,
    PRIMARY KEY (market, session, instrument_id, computed_at)
);
CREATE VIEW dip_opportunities_latest AS
    SELECT * FROM (
        SELECT DISTINCT ON (market, session, instrument_id) * FROM dip_opportunities
        ORDER BY market, session, instrument_id, computed_at DESC
    ) AS newest WHERE NOT withdrawn;
"""

_OPERATIONS = """
CREATE TABLE rate_limits (
    name            text             NOT NULL PRIMARY KEY,
    tokens          double precision NOT NULL,
    counted_at      timestamptz      NOT NULL
);

CREATE TABLE run_failures (
    run_id          text             NOT NULL PRIMARY KEY,
    job_name        text             NOT NULL,
    failed_at       timestamptz      NOT NULL,
    error           text             NOT NULL
);
"""


def upgrade() -> None:
    """Creates everything."""
    for statements in (_MARKET_DATA, _FACTS, _DECISIONS, _OPERATIONS):
        op.execute(statements)
