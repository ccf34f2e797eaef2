"""The outbox of alerts, and the addresses that no longer take any."""

from alembic import op

revision = "0003"
down_revision = "0002"

_OUTBOX = """
CREATE TABLE alert_outbox (
    dedup_key       text             NOT NULL PRIMARY KEY,
    market          text             NOT NULL,
    session         date             NOT NULL,
    instrument_id   text             NOT NULL,
    ticker          text             NOT NULL,
    threshold_pct   double precision NOT NULL,
    channel         text             NOT NULL,
    payload         jsonb            NOT NULL,
    created_at      timestamptz      NOT NULL,
    attempts        integer          NOT NULL DEFAULT 0,
    next_attempt_at timestamptz      NOT NULL,
    expires_at      timestamptz      NOT NULL,
    batch           text,
    claim           uuid,
    claimed_until   timestamptz,
    sent_at         timestamptz,
    given_up_at     timestamptz,
    last_error      text,
    message_id      text,
    CONSTRAINT alert_outbox_channel_known CHECK (channel IN ('discord', 'email')),
    CONSTRAINT alert_outbox_ends_once CHECK (sent_at IS NULL OR given_up_at IS NULL),
    CONSTRAINT alert_outbox_claim_whole CHECK ((claim IS NULL) = (claimed_until IS NULL)),
    CONSTRAINT alert_outbox_reason_kept CHECK (given_up_at IS NULL OR last_error IS NOT NULL)
);
CREATE INDEX alert_outbox_due ON alert_outbox (channel, next_attempt_at)
    WHERE sent_at IS NULL AND given_up_at IS NULL;
CREATE INDEX alert_outbox_told ON alert_outbox (market, instrument_id, session);

CREATE TABLE alert_addresses_closed (
    channel         text             NOT NULL,
    address         text             NOT NULL,
    closed_at       timestamptz      NOT NULL,
    reason          text             NOT NULL,
    PRIMARY KEY (channel, address)
);
"""


def upgrade() -> None:
    """Creates both tables."""
    op.execute(_OUTBOX)
