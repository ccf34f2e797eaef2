"""The live day: a loop that ticks on a fixed grid, and the same loop over recorded bars.

What belongs here: clocks, feeds, the order of things within a tick, starting, stopping and going on. What does not:
what is measured and decided (`research/live`, `research/risk`, `research/ledger`), who fills orders (`brokers/`), how
rows are stored (`storage/live_store.py`), and Dagster.
"""
