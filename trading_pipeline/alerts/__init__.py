"""Alerts: each new dip on the desk told once, on Discord and by e-mail.

What belongs here: what an alert says, how it is put for each channel, and how the outbox is emptied. What does not:
which dips are new (`research/dip_desk/new_dips.py`), what is due and whose it is to send (`storage/outbox.py`), when
anybody looks (`automation/alert_sensor.py`). No Dagster here.
"""
