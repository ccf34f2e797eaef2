"""Who executes orders: one protocol, the simulated broker and Alpaca's paper account.

What belongs here: orders, what became of them, and the adapters. What does not: when to trade and how much
(`research/`), and the loop that does it (`live/`).
"""
