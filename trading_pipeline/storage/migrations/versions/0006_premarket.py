"""What is said about a session before it opens."""

from alembic import op

revision = "0006"
down_revision = "0005"

_PREMARKET = """
CREATE TABLE daily_bias (
    market              text             NOT NULL,
    session             date             NOT NULL,
    instrument_id       text             NOT NULL,
    ticker              text             NOT NULL,
    decided_at          timestamptz      NOT NULL,
    taken               text             NOT NULL,
    bias                text             NOT NULL,
    confidence          double precision NOT NULL,
    score               double precision NOT NULL,
    gap_pct             double precision,
    overnight_range_pct double precision,
    trend_score         double precision,
    relative_volume     double precision,
    news_score          double precision,
    news_count          integer          NOT NULL,
    events              text             NOT NULL,
    reasons             text             NOT NULL,
    source              text             NOT NULL,
    inputs              text             NOT NULL,
    computed_at         timestamptz      NOT NULL,
    withdrawn           boolean          NOT NULL,
    PRIMARY KEY (market, session, instrument_id, computed_at),
    CONSTRAINT daily_bias_known CHECK (bias IN ('long', 'short', 'neutral')),
    CONSTRAINT daily_bias_confidence CHECK (confidence BETWEEN 0 AND 1),
    CONSTRAINT daily_bias_taken CHECK (taken IN ('live', 'rebuilt'))
);
CREATE VIEW daily_bias_latest AS
    SELECT * FROM (
        SELECT DISTINCT ON (market, session, instrument_id) * FROM daily_bias
        ORDER BY market, session, instrument_id, computed_at DESC
    ) AS newest WHERE NOT withdrawn;

CREATE TABLE premarket_snapshots (
    market                    text             NOT NULL,
    session                   date             NOT NULL,
    instrument_id             text             NOT NULL,
    ticker                    text             NOT NULL,
    decided_at                timestamptz      NOT NULL,
    taken                     text             NOT NULL,
    price                     double precision,
    previous_close            double precision NOT NULL,
    previous_high             double precision NOT NULL,
    previous_low              double precision NOT NULL,
    gap_pct                   double precision,
    premarket_high            double precision,
    premarket_low             double precision,
    premarket_volume          double precision,
    premarket_relative_volume double precision,
    day_mean                  double precision,
    day_sigma                 double precision,
    day_position              double precision,
    week_mean                 double precision,
    week_sigma                double precision,
    week_position             double precision,
    month_mean                double precision,
    month_sigma               double precision,
    month_position            double precision,
    anchored_mean             double precision,
    anchored_sigma            double precision,
    band_lower_1              double precision,
    band_lower_2              double precision,
    band_lower_3              double precision,
    band_upper_1              double precision,
    band_upper_2              double precision,
    band_upper_3              double precision,
    band                      double precision,
    atr_14                    double precision,
    computed_at               timestamptz      NOT NULL,
    withdrawn                 boolean          NOT NULL,
    PRIMARY KEY (market, session, instrument_id, computed_at),
    CONSTRAINT premarket_snapshots_taken CHECK (taken IN ('live', 'rebuilt'))
);
CREATE VIEW premarket_snapshots_latest AS
    SELECT * FROM (
        SELECT DISTINCT ON (market, session, instrument_id) * FROM premarket_snapshots
        ORDER BY market, session, instrument_id, computed_at DESC
    ) AS newest WHERE NOT withdrawn;

CREATE VIEW premarket_statistics AS
    SELECT market, session, ticker, instrument_id, taken,
        to_jsonb(snapshot) - '{market,session,ticker,instrument_id,taken,computed_at,withdrawn}'::text[] AS statistics
    FROM premarket_snapshots_latest AS snapshot;
"""


def upgrade() -> None:
    """Creates the tables and their views."""
    op.execute(_PREMARKET)
