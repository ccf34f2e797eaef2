"""Reference data, screener scores and the dip desk."""

from alembic import op

revision = "0002"
down_revision = "0001"

_REFERENCE = """
CREATE TABLE fundamentals (
    market                        text NOT NULL,
    session                       date NOT NULL,
    instrument_id                 text NOT NULL,
    ticker                        text NOT NULL,
    snapshot_session              date NOT NULL,
    age                           integer NOT NULL,
    asset_type                    text NOT NULL,
    name                          text,
    sector                        text,
    industry                      text,
    price                         double precision,
    market_cap                    double precision,
    shares_outstanding            double precision,
    enterprise_value              double precision,
    pe_trailing                   double precision,
    pe_forward                    double precision,
    peg                           double precision,
    price_to_book                 double precision,
    price_to_sales                double precision,
    ev_to_ebitda                  double precision,
    return_on_equity              double precision,
    return_on_assets              double precision,
    gross_margin                  double precision,
    operating_margin              double precision,
    profit_margin                 double precision,
    debt_to_equity                double precision,
    current_ratio                 double precision,
    quick_ratio                   double precision,
    total_debt                    double precision,
    total_cash                    double precision,
    revenue                       double precision,
    ebitda                        double precision,
    net_income                    double precision,
    operating_cash_flow           double precision,
    free_cash_flow                double precision,
    free_cash_flow_yield          double precision,
    eps_trailing                  double precision,
    eps_forward                   double precision,
    revenue_growth                double precision,
    earnings_growth               double precision,
    dividend_yield                double precision,
    payout_ratio                  double precision,
    beta                          double precision,
    short_share_of_float          double precision,
    target_mean_price             double precision,
    recommendation_mean           double precision,
    analysts                      integer,
    high_52_weeks                 double precision,
    low_52_weeks                  double precision,
    expense_ratio                 double precision,
    assets_under_management       double precision,
    fund_yield                    double precision,
    nav_premium                   double precision,
    duration                      double precision,
    credit_share_investment_grade double precision,
    holdings                      text,
    sector_weights                text,
    currency                      text NOT NULL,
    provider                      text NOT NULL,
    data_quality                  text NOT NULL,
    rules                         text NOT NULL,
    PRIMARY KEY (market, session, instrument_id)
);

CREATE TABLE earnings_calendar (
    market                  text NOT NULL,
    session                 date NOT NULL,
    instrument_id           text NOT NULL,
    ticker                  text NOT NULL,
    next_report_date        date,
    next_timing             text,
    sessions_to_report      integer,
    eps_estimate            double precision,
    revenue_estimate        double precision,
    sources                 text,
    disagreement            text,
    last_report_date        date,
    last_report_session     date,
    last_eps_actual         double precision,
    last_eps_estimate       double precision,
    last_surprise           double precision,
    last_reaction           double precision,
    reports                 integer NOT NULL,
    beat_rate               double precision,
    average_move_after_beat double precision,
    average_move_after_miss double precision,
    average_absolute_move   double precision,
    next_ex_dividend_date   date,
    last_ex_dividend_date   date,
    PRIMARY KEY (market, session, instrument_id)
);

CREATE TABLE news (
    market           text NOT NULL,
    session          date NOT NULL,
    instrument_id    text NOT NULL,
    ticker           text NOT NULL,
    article_id       text NOT NULL,
    published_at     timestamptz NOT NULL,
    title            text NOT NULL,
    summary          text,
    url              text,
    publisher        text,
    scope            text,
    relevance        double precision,
    sentiment        double precision NOT NULL,
    sentiment_source text NOT NULL,
    copies           integer NOT NULL,
    providers        text NOT NULL,
    available_at     timestamptz NOT NULL,
    known_at         timestamptz NOT NULL,
    PRIMARY KEY (market, session, instrument_id, article_id)
);

CREATE TABLE macro_series (
    market         text NOT NULL,
    session        date NOT NULL,
    series         text NOT NULL,
    instrument_id  text NOT NULL,
    ticker         text NOT NULL,
    value          double precision NOT NULL,
    change_1       double precision,
    change_21      double precision,
    percentile_252 double precision,
    PRIMARY KEY (market, session, series)
);
"""

_DECISIONS = """
CREATE TABLE screener_scores (
    market                   text NOT NULL,
    session                  date NOT NULL,
    instrument_id            text NOT NULL,
    ticker                   text NOT NULL,
    universes                text NOT NULL,
    asset_type               text NOT NULL,
    sector                   text,
    price                    double precision NOT NULL,
    market_cap               double precision,
    gates_passed             boolean NOT NULL,
    gates_failed             text NOT NULL,
    gates                    text NOT NULL,
    fundamental              double precision,
    technical                double precision,
    relative_strength        double precision,
    sector_score             double precision,
    catalyst                 double precision,
    weight_fundamental       double precision NOT NULL,
    weight_technical         double precision NOT NULL,
    weight_relative_strength double precision NOT NULL,
    weight_sector            double precision NOT NULL,
    weight_catalyst          double precision NOT NULL,
    confidence               double precision NOT NULL,
    total                    double precision,
    grade                    text,
    verdict                  text NOT NULL,
    flags                    text NOT NULL,
    dcf_value                double precision,
    dcf_upside               double precision,
    dcf_assumptions          text,
    sector_percentile        double precision,
    size_bucket              text NOT NULL,
    size_percentile          double precision,
    next_verdict             text,
    points_to_next           double precision,
    sensitivity              text,
    reasons                  text NOT NULL,
    environment              text,
    rules_version            text NOT NULL,
    data_quality             text NOT NULL,
    computed_at              timestamptz NOT NULL,
    withdrawn                boolean NOT NULL,
    PRIMARY KEY (market, session, instrument_id, computed_at)
);
CREATE VIEW screener_scores_latest AS
    SELECT * FROM (
        SELECT DISTINCT ON (market, session, instrument_id) * FROM screener_scores
        ORDER BY market, session, instrument_id, computed_at DESC
    ) AS newest WHERE NOT withdrawn;

CREATE TABLE dip_analysis (
    market             text NOT NULL,
    session            date NOT NULL,
    instrument_id      text NOT NULL,
    ticker             text NOT NULL,
    dip_pct            double precision NOT NULL,
    cause              text NOT NULL,
    action             text NOT NULL,
    action_reasons     text NOT NULL,
    size_low           double precision NOT NULL,
    size_high          double precision NOT NULL,
    size_low_amount    double precision NOT NULL,
    size_high_amount   double precision NOT NULL,
    why                text NOT NULL,
    outlook            text NOT NULL,
    play               text NOT NULL,
    risks              text NOT NULL,
    source             text NOT NULL,
    source_reason      text,
    model              text,
    prompt_hash        text NOT NULL,
    inputs             text NOT NULL,
    input_tokens       bigint,
    output_tokens      bigint,
    cache_read_tokens  bigint,
    cache_write_tokens bigint,
    cost               double precision,
    computed_at        timestamptz NOT NULL,
    withdrawn          boolean NOT NULL,
    PRIMARY KEY (market, session, instrument_id, computed_at)
);
CREATE VIEW dip_analysis_latest AS
    SELECT * FROM (
        SELECT DISTINCT ON (market, session, instrument_id) * FROM dip_analysis
        ORDER BY market, session, instrument_id, computed_at DESC
    ) AS newest WHERE NOT withdrawn;
"""

_CAUSES = """
ALTER TABLE dip_opportunities
    ADD COLUMN on_desk boolean,
    ADD COLUMN cause text,
    ADD COLUMN cause_share double precision,
    ADD COLUMN evidence text,
    ADD COLUMN news_ids text,
    ADD COLUMN verdict text,
    ADD COLUMN total double precision,
    ADD COLUMN grade text,
    ADD COLUMN gates_failed text,
    ADD COLUMN sessions_to_report integer;
CREATE OR REPLACE VIEW dip_opportunities_latest AS
    SELECT * FROM (
        SELECT DISTINCT ON (market, session, instrument_id) * FROM dip_opportunities
        ORDER BY market, session, instrument_id, computed_at DESC
    ) AS newest WHERE NOT withdrawn;
"""


def upgrade() -> None:
    """Creates the tables, and lets dips say why."""
    for statements in (_REFERENCE, _DECISIONS, _CAUSES):
        op.execute(statements)
