"""A sweep of moving-average crosses over a whole market, against vectorbt as its users write it.

Ours: 500 tickers x 1,000 pairs of lengths x ten years, metrics of every pair. The baseline is vectorbt's own recipe for
the same thing: `MA.run` for the windows of a few combinations at once, crosses moved to the next session, one
`Portfolio.from_signals` for all of them at the open with fees and slippage, then return, Sharpe ratio, drawdown, trades
and coverage. It holds every matrix of sessions x tickers x combinations, so it is given as many combinations as fit
into a small machine, and its time is told for one combination, which is how it grows.

Each side runs in processes of its own. Kernels of both are compiled and cached beforehand, and each works once on a
small market before it is measured. The faster of two runs counts. Memory is the highest resident size while working
less the one before, when libraries and prices were loaded. The last row says what every metric of the combinations that
both sides had differs by at most: 0 but for rounding.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.report import Row, Target, seconds
from benchmarks.workbench import CHILD_SECONDS, PROJECT

TICKERS, SESSIONS, PAIRS = 500, 2520, 1000
COMBINATIONS = 8
FEES, SLIPPAGE = 0.001, 0.0005
METRICS = ("total_return", "sharpe", "max_drawdown", "exposure", "trades")


def prices(tickers: int, sessions: int) -> tuple[np.ndarray, np.ndarray]:
    """Opens and closes of random walks, sessions x tickers, a bar on every session."""
    rng = np.random.default_rng(20160314)
    close = 50 * np.exp(np.cumsum(rng.normal(0.0003, 0.02, (sessions, tickers)), axis=0))
    return close * np.exp(rng.normal(0, 0.004, close.shape)), close


def lengths(pairs: int) -> tuple[list[int], list[int]]:
    """Fast and slow lengths whose valid combinations are the first `pairs` of a usual grid."""
    return list(range(5, 55, 2)), list(range(60, 60 + 5 * (pairs // 25), 5))


def ours(tickers: int, sessions: int, pairs: int, chosen: list[tuple[int, int]]) -> dict[str, Any]:
    """Seconds, bytes and the metrics of the chosen pairs."""
    from trading_pipeline.research.sweeps import Prices, ProportionalCosts, parameter_grid, sweep, warm_up

    opens, closes = prices(tickers, sessions)
    market = Prices([f"T{number:04d}" for number in range(tickers)], opens, closes)
    fast, slow = lengths(pairs)
    grid = parameter_grid("moving_average_cross", {"fast": fast, "slow": slow})
    assert len(grid) == pairs
    warm_up()
    before = _resident()
    spent, result = [], None
    for _ in range(2):
        result = None  # one result at a time
        start = time.perf_counter()
        result = sweep(market, grid, ProportionalCosts(FEES, SLIPPAGE))
        result.frame()
        spent.append(time.perf_counter() - start)
    sets = grid.frame().rows()
    found = {name: [getattr(result, name)[:, sets.index(pair)].tolist() for pair in chosen] for name in METRICS}
    return {"seconds": min(spent), "bytes": _peak() - before, "found": found}


def theirs(tickers: int, sessions: int, pairs: int, chosen: list[tuple[int, int]]) -> dict[str, Any]:
    """The same of vectorbt, for the chosen pairs together."""
    import pandas as pd
    import vectorbt as vbt

    opens, closes = prices(tickers, sessions)
    index = pd.date_range("2010-01-01", periods=sessions, freq="D")
    names = [f"T{number:04d}" for number in range(tickers)]
    opened, close = pd.DataFrame(opens, index, names), pd.DataFrame(closes, index, names)
    vbt.settings.returns["year_freq"] = "252 days"
    fast, slow = (list(each) for each in zip(*chosen, strict=True))

    def work(opened: Any, close: Any) -> dict[str, Any]:
        quick = vbt.MA.run(close, fast, short_name="fast")
        steady = vbt.MA.run(close, slow, short_name="slow")
        entries = quick.ma_crossed_above(steady).vbt.signals.fshift(1)
        exits = quick.ma_below(steady).vbt.signals.fshift(1)
        # The sweep's first signals come when the bar before and gaps of up to 20 sessions are known, not earlier.
        for number, length in enumerate(slow):
            columns = slice(number * close.shape[1], (number + 1) * close.shape[1])
            entries.iloc[: length + 41, columns] = False
        account = vbt.Portfolio.from_signals(
            close, entries, exits, price=opened, fees=FEES, slippage=SLIPPAGE, init_cash=100.0, freq="1D"
        )
        return {
            "total_return": account.total_return(),
            "sharpe": account.sharpe_ratio(),
            "max_drawdown": account.max_drawdown(),
            "exposure": account.position_coverage(),
            "trades": account.trades.count(),
        }

    small = names[:3]
    work(opened[small], close[small])
    before = _resident()
    spent = []
    for _ in range(2):
        start = time.perf_counter()
        measured = work(opened, close)
        spent.append(time.perf_counter() - start)
    found = {name: np.asarray(value, dtype=np.float64).reshape(len(chosen), -1) for name, value in measured.items()}
    told = {name: value.tolist() for name, value in found.items()}
    return {"seconds": min(spent), "bytes": _peak() - before, "found": told}


def measure(
    folder: Path, tickers: int = TICKERS, sessions: int = SESSIONS, pairs: int = PAIRS, combinations: int = COMBINATIONS
) -> list[Row]:
    """Time of the whole, time and memory against vectorbt; `folder` is not needed."""
    fast, slow = lengths(pairs)
    every = [(quick, steady) for quick in fast for steady in slow]
    chosen = [every[place] for place in np.linspace(0, len(every) - 1, combinations).astype(int)]
    told = {side: _in_process(side, tickers, sessions, pairs, chosen) for side in ("ours", "theirs")}
    own, other = told["ours"], told["theirs"]
    each, their_each = own["seconds"] / pairs, other["seconds"] / combinations
    note = (
        "Baseline: vectorbt MA.run, crosses, Portfolio.from_signals at the next open, return, Sharpe, drawdown, trades "
        f"and coverage of {combinations} of the combinations together. Bytes: highest resident size less that before."
    )
    steps = tickers * sessions * pairs
    apart = _apart(own["found"], other["found"])
    market = f"{tickers} tickers x {sessions:,} sessions"
    return [
        Row(
            f"sweep of {pairs:,} moving-average pairs, {market}",
            seconds(own["seconds"]),
            "-",
            None,
            note,
            Target(5, " s"),
            own["seconds"],
        ),
        Row("  bar-steps a second", f"{steps / own['seconds'] / 1e6:,.0f} M", "-", None, note),
        Row(
            "  one combination",
            f"{each * 1000:.2f} ms",
            seconds(their_each),
            their_each / each,
            note,
            Target(100, " x", at_least=True),
        ),
        Row(
            f"  memory: all {pairs:,} against {combinations}",
            _megabytes(own["bytes"]),
            _megabytes(other["bytes"]),
            other["bytes"] / max(own["bytes"], 1),
            note,
            Target(20, " x", at_least=True),
        ),
        Row("  largest difference of a metric", f"{apart:.0e}", "-", None, note, Target(1e-9, ""), apart),
    ]


def _in_process(side: str, tickers: int, sessions: int, pairs: int, chosen: list[tuple[int, int]]) -> dict[str, Any]:
    task = json.dumps([side, tickers, sessions, pairs, chosen])
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-m", "benchmarks.sweep", task],
        cwd=PROJECT,
        stdout=subprocess.PIPE,
        text=True,
        check=True,
        timeout=CHILD_SECONDS,
    )
    told: dict[str, Any] = json.loads(done.stdout.strip().splitlines()[-1])
    return told


def _apart(own: dict[str, Any], other: dict[str, Any]) -> float:
    """Largest difference, relative where a metric is above 1; where only one side has a number, endless.

    Without a trade a Sharpe ratio is none with us and infinite with vectorbt.
    """
    worst = 0.0
    for name in METRICS:
        first, second = np.array(own[name], dtype=np.float64), np.array(other[name], dtype=np.float64)
        second = np.where(np.isinf(second), np.nan, second)
        off = np.abs(first - second) / np.maximum(np.abs(second), 1)
        off = np.where(np.isnan(first) & np.isnan(second), 0.0, off)
        worst = max(worst, float(np.nan_to_num(off, nan=np.inf).max()))
    return worst


def _resident() -> int:
    """Resident bytes now, from which the highest is counted anew: that of making the prices is none of the sweep's."""
    Path("/proc/self/clear_refs").write_text("5", encoding="ascii")
    return _status("VmRSS")


def _peak() -> int:
    return _status("VmHWM")


def _status(name: str) -> int:
    lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(f"{name}:"))


def _megabytes(size: float) -> str:
    return f"{size / 1e6:,.0f} MB"


if __name__ == "__main__":
    asked, *rest = json.loads(sys.argv[1])
    pairs_asked = [(quick, steady) for quick, steady in rest[3]]
    print(json.dumps({"ours": ours, "theirs": theirs}[asked](*rest[:3], pairs_asked)))
