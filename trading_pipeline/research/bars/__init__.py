"""Daily bars as numbers: from what a provider says to as-traded values, their versions, and back to adjusted prices.

What belongs here: pure functions on frames of bars and corporate actions. What does not: fetching, clocks, storage.
"""
