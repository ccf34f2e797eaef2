"""Backtests of a world: configurations found, panels read, results computed and stored.

What belongs here: handing `research/` what the lake holds, and storing what it answers. What does not: the science
(`research/backtest`, `research/performance`, `research/sweeps`), and when anything is started (`assets/`,
`automation/`).
"""

CODE_VERSION = "1"
"""Raised whenever the same configuration and data give another result."""
