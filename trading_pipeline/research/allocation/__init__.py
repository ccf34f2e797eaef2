"""How much of each name: weights from returns, limits, and when they are set anew.

What belongs here: sizes that names have relative to each other. What does not: which names are held (`strategies/`),
and how many shares may be lost on one (`risk/`).
"""
