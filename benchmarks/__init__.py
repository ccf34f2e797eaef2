"""Ratios against named baselines: each row of the table is measured side by side with its baseline, in one run.

What belongs here: measuring. What does not: tests of what is right (`trading_pipeline_tests`), and bounds on wall time
that a busy machine could fail.
"""
