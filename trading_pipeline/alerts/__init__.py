"""Alerts: each new dip on the desk and each fall during a session told once, on Discord and by e-mail.

What belongs here: what an alert says, how it is put for each channel, and how the outbox is emptied. What does not:
which dips are new (`research/dip_desk/new_dips.py`) and who fell (`research/live/price_monitor.py`), what is due and
whose it is to send (`storage/outbox.py`), when anybody looks (`automation/alert_sensor.py`). No Dagster here.

Of each kind of alert there is one class (`dips.py`, `falls.py`), which holds its facts and puts them into `Words`; a
channel arranges words, and knows no kind. `kinds.py` names the kinds.
"""
