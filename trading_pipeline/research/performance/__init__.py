"""What became of a strategy: metrics, drawdowns, deflated Sharpe, walk-forward, Monte Carlo, comparisons.

Returns are simple, one a session, in the order of the sessions; a fraction (0.01 is 1 %) of the equity before it.
"""
