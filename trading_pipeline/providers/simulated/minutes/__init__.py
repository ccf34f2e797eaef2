"""Minutes of the simulated market: what happened inside its sessions, as a provider of intraday bars tells it.

What belongs here: the plan of a session (`plan.py`), the prices (`path.py`), the volumes and the panel of a session
(`panel.py`), what is said of it (`provider.py`) and what was planted (`truth.py`). What does not: the sessions
themselves, which the daily market decides first: minutes never change a daily bar.
"""

from trading_pipeline.providers.simulated.minutes.provider import SimulatedMinutes
from trading_pipeline.providers.simulated.minutes.truth import IntradayTruth

__all__ = ["IntradayTruth", "SimulatedMinutes"]
