"""Alerts of several kinds: dips, and falls during a session, which pass no threshold of the desk.

`kind` keeps its default: what is waiting is of dips, and so is what a program that was started before writes down.
"""

from alembic import op

revision = "0007"
down_revision = "0006"

_KINDS = """
ALTER TABLE alert_outbox
    ADD COLUMN kind text NOT NULL DEFAULT 'dip',
    ALTER COLUMN threshold_pct DROP NOT NULL,
    ADD CONSTRAINT alert_outbox_dip_passed CHECK (kind <> 'dip' OR threshold_pct IS NOT NULL);
"""


def upgrade() -> None:
    """Widens the outbox."""
    op.execute(_KINDS)
