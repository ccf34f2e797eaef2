"""Paper, unless a setting says in words that it is not.

What belongs here: telling paper accounts from live ones by key, address and account number. The settings refuse the
same; this is the second lock, on the door itself.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

from pydantic import SecretStr

from trading_pipeline.brokers.errors import AccountBlocked, RealMoneyRefused
from trading_pipeline.settings import REAL_MONEY

PAPER_URL = "https://paper-api.alpaca.markets"
_LIVE_KEY, _PAPER_ACCOUNT = "AK", "PA"
_LOOPBACK = ("127.0.0.1", "localhost", "::1")
_REMEDY = f"Use {PAPER_URL} with a paper key, or say REAL_MONEY={REAL_MONEY}"
_BLOCKS = {
    "account_blocked": "the account is blocked",
    "trading_blocked": "trading is blocked",
    "trade_suspended_by_user": "trading is suspended by its owner",
}


def on_paper(url: str, key: SecretStr) -> bool:
    """Whether address and key are those of a paper account: Alpaca's paper host, or a server on this machine."""
    parts = urlsplit(url)
    known = parts.hostname in _LOOPBACK or (parts.scheme, parts.hostname) == tuple(PAPER_URL.split("://"))
    return known and not key.get_secret_value().upper().startswith(_LIVE_KEY)


def require_paper(url: str, key: SecretStr, real_money: str) -> bool:
    """Whether this is a paper account; `RealMoneyRefused` where it is not and `real_money` does not say the words."""
    paper = on_paper(url, key)
    if not paper and real_money != REAL_MONEY:
        host = urlsplit(url).hostname or "an address without a host"
        raise RealMoneyRefused(f"The key or the address ({host}) is not that of an Alpaca paper account", _REMEDY)
    if not paper and urlsplit(url).scheme != "https":
        raise RealMoneyRefused(f"Orders for real money need https, not {urlsplit(url).scheme or 'nothing'}", _REMEDY)
    return paper


def require_able(account: Mapping[str, Any], *, paper: bool) -> None:
    """`AccountBlocked` where the account may not trade, `RealMoneyRefused` where paper is wanted and it is not.

    account: as Alpaca tells it. Numbers of paper accounts begin with PA.
    """
    number = str(account.get("account_number") or "")
    if paper and not number.startswith(_PAPER_ACCOUNT):
        raise RealMoneyRefused("The account behind the key is not a paper account, by its number", _REMEDY)
    blocks = [said for name, said in _BLOCKS.items() if account.get(name)]
    status = str(account.get("status") or "")
    if status not in ("ACTIVE", "PAPER_ONLY"):
        blocks.append(f"its status is {status or 'unknown'}")
    if blocks:
        raise AccountBlocked(f"The Alpaca account may not trade: {', '.join(blocks)}")
