"""Compiled kernels of the sweeps.

What belongs here: loops over one instrument's bars, each strategy's signals as bits, and the accounting they share.
What does not: grids, threads, frames (the package above).

Importing a module of this package imports numba, so they are imported inside functions alone.
"""
