"""The science: pure functions on polars and numpy. Imports nothing of ours but research."""
