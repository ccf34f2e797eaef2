"""The kinds of alerts that there are, by the name the outbox knows them by."""

from __future__ import annotations

from trading_pipeline.alerts.dips import DipAlert
from trading_pipeline.alerts.facts import AlertFacts
from trading_pipeline.alerts.falls import FallAlert

KINDS: dict[str, type[AlertFacts]] = {kind.kind: kind for kind in (DipAlert, FallAlert)}
