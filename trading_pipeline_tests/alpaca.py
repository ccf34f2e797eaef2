"""Alpaca's trading API on the loopback interface: real HTTP, its documented rules, and the faults it is known for.

The rules are those of its documentation of orders and of the errors its clients report: numbers as strings, legs with
ids of their own that sleep until the entry has filled completely, groups that are cancelled together, prices checked
against the live one, ids taken once.
"""

from __future__ import annotations

import json
import threading
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

KEY, SECRET = "PKTESTKEYOFNOBODY", "a-secret-nobody-may-see"
OPEN_STATES = ("new", "accepted", "held", "partially_filled", "pending_cancel", "pending_new")


class Refusal(Exception):
    """An HTTP error with Alpaca's body."""

    def __init__(self, status: int, code: int, message: str, **details: Any) -> None:
        super().__init__(message)
        self.status, self.body = status, {"code": code, "message": message, **details}


@dataclass
class Fault:
    """What happens to the next requests of `method` whose path begins with `path`, instead of (or after) an answer.

    status: of the answer; 0: the connection is dropped. done: the request is carried out all the same.
    """

    method: str
    path: str
    status: int
    times: int = 1
    done: bool = False
    headers: dict[str, str] = field(default_factory=dict)
    body: str = '{"message": "no"}'
    delay: threading.Event | None = None


class AlpacaServer:
    """The account: `price` by symbol, `orders`, `positions`; `fill` is the exchange."""

    def __init__(self) -> None:
        self.now = datetime(2025, 9, 17, 13, 30, tzinfo=UTC)
        self.price: dict[str, float] = {"AAA": 100.0, "BRK.B": 500.0}
        self.account: dict[str, Any] = {
            "id": str(uuid.uuid4()),
            "account_number": "PA3TESTTEST0",
            "status": "ACTIVE",
            "currency": "USD",
            "trading_blocked": False,
            "account_blocked": False,
            "trade_suspended_by_user": False,
            "shorting_enabled": True,
        }
        self.buying_power = 1_000_000.0
        self.is_open = True
        self.cancel_polls = 0
        """How many times a cancelled order is still told as pending_cancel."""
        self.checks_ids_last = False
        """Whether an order is refused for what it is before its id is found to be taken; nobody documents which."""
        self.hidden_activities = False
        """Whether the list of executions lags behind the orders."""
        self.orders: dict[str, dict[str, Any]] = {}
        self.positions: dict[str, tuple[int, float]] = {}
        self.activities: list[dict[str, Any]] = []
        self.faults: list[Fault] = []
        self.asked: list[tuple[str, str, dict[str, str]]] = []
        self.submitted: list[dict[str, Any]] = []
        self._lock = threading.RLock()
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(self))
        self.url = f"http://127.0.0.1:{self._server.server_port}"

    # --- what a test does ------------------------------------------------------------------------------------------

    def fill(self, order: dict[str, Any], quantity: int | None = None, price: float | None = None) -> None:
        """Execute `quantity` shares of an order (all that is left where not given)."""
        with self._lock:
            left = int(order["qty"]) - int(order["filled_qty"])
            quantity = left if quantity is None else quantity
            assert order["status"] in OPEN_STATES and 0 < quantity <= left
            price = price or self.price[order["symbol"]]
            at = self._tick()
            done = quantity == left
            order["filled_qty"] = str(int(order["filled_qty"]) + quantity)
            order["status"] = "filled" if done else "partially_filled"
            order["filled_at"] = at
            order["filled_avg_price"] = str(price)
            sign = 1 if order["side"] == "buy" else -1
            held, average = self.positions.get(order["symbol"], (0, 0.0))
            self.positions[order["symbol"]] = (held + sign * quantity, price if held == 0 else average)
            self.activities.append(
                {
                    "id": f"{self.now:%Y%m%d%H%M%S%f}::{uuid.uuid4()}",
                    "activity_type": "FILL",
                    "transaction_time": at,
                    "type": "fill" if done else "partial_fill",
                    "price": str(price),
                    "qty": str(quantity),
                    "side": order["side"],
                    "symbol": order["symbol"],
                    "leaves_qty": str(left - quantity),
                    "order_id": order["id"],
                    "cum_qty": order["filled_qty"],
                    "order_status": order["status"],
                }
            )
            self._after_fill(order, done)

    def end(self, order: dict[str, Any], status: str) -> None:
        """An order ends (expired, canceled, rejected); what is open of its group is cancelled."""
        with self._lock:
            names = {"expired": "expired_at", "canceled": "canceled_at", "rejected": "failed_at"}
            order["status"] = status
            order[names[status]] = self._tick()
            for other in self._group(order):
                if other["status"] in OPEN_STATES:
                    other["status"], other["canceled_at"] = "canceled", self._tick()

    def replace(self, order: dict[str, Any]) -> dict[str, Any]:
        """The order is replaced by another of its kind, as stops are before they fill."""
        with self._lock:
            fresh = {**order, "id": str(uuid.uuid4()), "client_order_id": str(uuid.uuid4()), "replaces": order["id"]}
            fresh["submitted_at"] = fresh["created_at"] = self._tick()
            order["status"], order["replaced_by"] = "replaced", fresh["id"]
            self.orders[fresh["id"]] = fresh
            return fresh

    def order(self, client_order_id: str) -> dict[str, Any]:
        return next(order for order in self.orders.values() if order["client_order_id"] == client_order_id)

    def leg(self, client_order_id: str, kind: str) -> dict[str, Any]:
        parent = self.order(client_order_id)
        return next(
            order for order in self.orders.values() if order["parent"] == parent["id"] and order["type"] == kind
        )

    def requests(self, method: str, path: str = "/v2/") -> list[str]:
        return [asked for kind, asked, _ in self.asked if kind == method and asked.startswith(path)]

    # --- the API ------------------------------------------------------------------------------------------------------

    def answer(self, method: str, path: str, query: dict[str, str], body: Any) -> Any:
        match method, path.split("/")[2:]:
            case "GET", ["account"]:
                return {**self.account, "buying_power": str(self.buying_power)}
            case "GET", ["positions"]:
                return [self._position(symbol) for symbol, (held, _) in sorted(self.positions.items()) if held]
            case "GET", ["account", "activities", "FILL"]:
                return self._activities(query)
            case "GET", ["orders"]:
                return self._listed(query)
            case "GET", ["orders:by_client_order_id"]:
                found = [
                    order for order in self.orders.values() if order["client_order_id"] == query["client_order_id"]
                ]
                return self._told(_one(found), nested=False)
            case "GET", ["orders", order_id]:
                return self._told(_one([self.orders[order_id]] if order_id in self.orders else []), nested=_true(query))
            case "POST", ["orders"]:
                return self._submit(body)
            case "DELETE", ["orders", order_id]:
                return self._cancel(_one([self.orders[order_id]] if order_id in self.orders else []))
        raise Refusal(404, 40410000, f"endpoint not found: {method} {path}")

    def _submit(self, body: dict[str, Any]) -> dict[str, Any]:
        self.submitted.append(body)
        self._require_sound(body)
        self._require_new(body)
        kind = body.get("order_class", "")
        parent = self._new(body, body["type"], body["side"], body["client_order_id"], kind, None)
        legs = []
        other_side = {"buy": "sell", "sell": "buy"}[body["side"]] if kind != "oco" else body["side"]
        for name, leg_type in (("take_profit", "limit"), ("stop_loss", "stop")):
            if kind == "oco" and name == "take_profit":
                parent["limit_price"] = _text(body["take_profit"]["limit_price"])
                continue
            if name in body:
                leg = self._new(body, leg_type, other_side, str(uuid.uuid4()), kind, parent["id"], body[name])
                leg["status"] = "held"
                legs.append(leg)
        self.orders |= {order["id"]: order for order in (parent, *legs)}
        return self._told(parent, nested=True)

    def _new(
        self,
        body: dict[str, Any],
        order_type: str,
        side: str,
        client_order_id: str,
        order_class: str,
        parent: str | None,
        prices: dict[str, Any] | None = None,
    ) -> dict[str, Any]:
        prices = body if prices is None else prices
        at = self._tick()
        return {
            "id": str(uuid.uuid4()),
            "client_order_id": client_order_id,
            "created_at": at,
            "updated_at": at,
            "submitted_at": at,
            **dict.fromkeys(("filled_at", "expired_at", "canceled_at", "failed_at", "replaced_at", "replaced_by")),
            "asset_id": str(uuid.uuid4()),
            "symbol": body["symbol"],
            "asset_class": "us_equity",
            "notional": None,
            "qty": _text(body["qty"]),
            "filled_qty": "0",
            "filled_avg_price": None,
            "order_class": order_class,
            "order_type": order_type,
            "type": order_type,
            "side": side,
            "time_in_force": body["time_in_force"],
            "limit_price": _text(prices.get("limit_price")),
            "stop_price": _text(prices.get("stop_price")),
            "status": "new" if self.is_open else "accepted",
            "extended_hours": False,
            "parent": parent,
            "polls": 0,
        }

    def _require_sound(self, body: dict[str, Any]) -> None:
        kind, side, quantity = body.get("order_class", ""), body["side"], float(body["qty"])
        if len(body["client_order_id"]) > 128:
            raise Refusal(422, 40010001, "client_order_id must be no more than 128 characters")
        if not self.checks_ids_last:
            self._require_new(body)
        if body["symbol"] not in self.price:
            raise Refusal(422, 40010001, f'asset "{body["symbol"]}" not found')
        if self.account["trading_blocked"] or self.account["account_blocked"]:
            raise Refusal(403, 40310000, "new orders are rejected: account is blocked")
        if not quantity.is_integer() and (kind or body["time_in_force"] != "day"):
            raise Refusal(422, 42210000, "fractional orders must be DAY orders")
        if kind and (body.get("extended_hours") or body["time_in_force"] not in ("day", "gtc")):
            raise Refusal(422, 42210000, "complex orders: extended_hours must be false, time_in_force day or gtc")
        legs = [body.get("take_profit"), body.get("stop_loss")]
        if kind in ("bracket", "oco") and not all(legs):
            raise Refusal(422, 40010001, f"{kind} orders require take_profit.limit_price and stop_loss.stop_price")
        for where, prices in (("", body), ("take_profit.", legs[0] or {}), ("stop_loss.", legs[1] or {})):
            for name in ("limit_price", "stop_price"):
                if name in prices:
                    _require_whole_cents(where + name, prices[name])
        held = self.positions.get(body["symbol"], (0, 0.0))[0]
        closes = held * (1 if side == "sell" else -1) > 0
        if kind in ("bracket", "oto") and (closes or body["type"] not in ("market", "limit")):
            raise Refusal(422, 42210000, f"{kind} orders must be entry orders")
        if kind == "oco" and not closes:
            raise Refusal(422, 42210000, "oco orders must be exit orders")
        self._require_room(body, kind)
        if closes:
            busy = sum(
                int(order["qty"]) - int(order["filled_qty"])
                for order in self.orders.values()
                if order["status"] in OPEN_STATES
                and (order["symbol"], order["side"]) == (body["symbol"], side)
                and not (order["parent"] and order["type"] == "stop")
            )
            if quantity > abs(held) - busy:
                available = f"(requested: {quantity:g}, available: {abs(held) - busy})"
                raise Refusal(403, 40310000, f"insufficient qty available for order {available}")
            return
        if side == "sell" and not self.account["shorting_enabled"]:
            raise Refusal(403, 40310000, "account is not allowed to short")
        cost = quantity * float(body.get("limit_price") or self.price[body["symbol"]])
        if cost > self.buying_power:
            raise Refusal(
                403,
                40310000,
                "insufficient buying power",
                buying_power=str(self.buying_power),
                cost_basis=str(cost),
            )

    def _require_new(self, body: dict[str, Any]) -> None:
        if any(order["client_order_id"] == body["client_order_id"] for order in self.orders.values()):
            raise Refusal(422, 40010001, "client_order_id must be unique")

    def _require_room(self, body: dict[str, Any], kind: str) -> None:
        if not kind:
            return
        market = self.price[body["symbol"]]
        long = (body["side"] == "buy") != (kind == "oco")
        limit = body.get("limit_price") if kind != "oco" else body["take_profit"]["limit_price"]
        bases = [market] if limit is None else [market, float(limit)]
        profit, stop = body.get("take_profit"), body.get("stop_loss")
        word, sign = (">=", 1) if long else ("<=", -1)
        if profit and kind != "oco":
            base = float(limit) if limit is not None else market
            if sign * (float(profit["limit_price"]) - base) < 0.01 - 1e-9:
                said = f"take_profit.limit_price must be {word} base_price {'+' if long else '-'} 0.01"
                raise Refusal(422, 42210000, said, base_price=f"{base:g}")
        if stop:
            base = (min if long else max)(bases)
            if sign * (base - float(stop["stop_price"])) < 0.01 - 1e-9:
                word = "<=" if long else ">="
                said = f"stop_loss.stop_price must be {word} base_price {'-' if long else '+'} 0.01"
                raise Refusal(422, 42210000, said, base_price=f"{base:g}")

    def _cancel(self, order: dict[str, Any]) -> None:
        if order["status"] not in OPEN_STATES:
            raise Refusal(422, 42210000, f'order is already in "{order["status"]}" state')
        if self.cancel_polls:
            order["status"], order["polls"] = "pending_cancel", self.cancel_polls
        else:
            self.end(order, "canceled")

    def _told(self, order: dict[str, Any], *, nested: bool) -> dict[str, Any]:
        if order["status"] == "pending_cancel":
            order["polls"] -= 1
            if order["polls"] < 0:
                self.end(order, "canceled")
        legs = [other for other in self.orders.values() if other["parent"] == order["id"]]
        told = {name: value for name, value in order.items() if name not in ("parent", "polls")}
        return told | {"legs": [self._told(leg, nested=True) for leg in legs] or None if nested else None}

    def _listed(self, query: dict[str, str]) -> list[dict[str, Any]]:
        nested, limit = _true(query), int(query.get("limit", 50))
        assert limit <= 500, "limit must be at most 500"
        rows = sorted(self.orders.values(), key=lambda order: order["submitted_at"])
        if query.get("status", "open") == "open":
            rows = [order for order in rows if order["status"] in OPEN_STATES]
        if nested:
            parents = {order["id"] for order in rows if order["parent"] is None}
            rows = [order for order in rows if order["parent"] not in parents]
        if "symbols" in query:
            rows = [order for order in rows if order["symbol"] in query["symbols"].split(",")]
        if "after" in query:
            after = datetime.fromisoformat(query["after"])
            rows = [order for order in rows if datetime.fromisoformat(order["submitted_at"]) > after]
        if query.get("direction", "desc") == "desc":
            rows.reverse()
        return [self._told(order, nested=nested) for order in rows[:limit]]

    def _activities(self, query: dict[str, str]) -> list[dict[str, Any]]:
        size = int(query.get("page_size", 100))
        assert size <= 100, "page_size must be at most 100"
        rows = [] if self.hidden_activities else list(self.activities)
        if "after" in query:
            after = datetime.fromisoformat(query["after"])
            rows = [row for row in rows if datetime.fromisoformat(row["transaction_time"]) > after]
        if query.get("direction", "desc") == "desc":
            rows.reverse()
        if "page_token" in query:
            rows = rows[[row["id"] for row in rows].index(query["page_token"]) + 1 :]
        return rows[:size]

    def _position(self, symbol: str) -> dict[str, Any]:
        held, average = self.positions[symbol]
        return {
            "asset_id": str(uuid.uuid4()),
            "symbol": symbol,
            "qty": str(held),
            "side": "long" if held > 0 else "short",
            "avg_entry_price": str(average),
            "cost_basis": str(held * average),
        }

    def _after_fill(self, order: dict[str, Any], done: bool) -> None:
        others = self._group(order)
        if order["parent"] is None and order["order_class"] in ("bracket", "oto"):
            if done:
                for leg in others:
                    leg["status"] = "new" if leg["type"] == "limit" else "held"
            return
        for other in others:
            if other["status"] not in OPEN_STATES:
                continue
            if done:
                other["status"], other["canceled_at"] = "canceled", self._tick()
            else:
                other["qty"] = str(int(order["qty"]) - int(order["filled_qty"]))

    def _group(self, order: dict[str, Any]) -> list[dict[str, Any]]:
        root = order["parent"] or order["id"]
        return [
            other for other in self.orders.values() if root in (other["id"], other["parent"]) and other is not order
        ]

    def _tick(self) -> str:
        self.now += timedelta(microseconds=1001)
        return f"{self.now:%Y-%m-%dT%H:%M:%S.%f}123Z"

    # --- HTTP ------------------------------------------------------------------------------------------

    def serve(self, handler: BaseHTTPRequestHandler, method: str) -> None:
        parts = urlsplit(handler.path)
        query = {name: values[-1] for name, values in parse_qs(parts.query).items()}
        length = int(handler.headers.get("Content-Length") or 0)
        body = json.loads(handler.rfile.read(length)) if length else None
        with self._lock:
            self.asked.append((method, parts.path, query))
            fault = next(
                (it for it in self.faults if it.times and it.method == method and parts.path.startswith(it.path)), None
            )
            if fault is not None:
                fault.times -= 1
            status, answer = 200, None
            if handler.headers.get("APCA-API-KEY-ID") != KEY or handler.headers.get("APCA-API-SECRET-KEY") != SECRET:
                status, answer = 401, {"code": 40110000, "message": "request is not authorized"}
            elif fault is None or fault.done:
                try:
                    answer = self.answer(method, parts.path, query, body)
                except Refusal as refusal:
                    status, answer = refusal.status, refusal.body
        if fault is not None and fault.delay is not None:
            fault.delay.wait(30)
        if fault is not None and fault.status == 0:
            handler.close_connection = True
            return
        content = b"" if answer is None else json.dumps(answer).encode()
        headers = {}
        if fault is not None:
            status, content, headers = fault.status, fault.body.encode(), fault.headers
        elif answer is None:
            status = 204
        handler.send_response(status)
        for name, value in headers.items():
            handler.send_header(name, value)
        handler.send_header("Content-Length", str(len(content)))
        handler.end_headers()
        handler.wfile.write(content)

    @contextmanager
    def running(self) -> Iterator[AlpacaServer]:
        thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
        thread.start()
        yield self
        self._server.shutdown()
        self._server.server_close()
        thread.join()


def _handler(server: AlpacaServer) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        # Otherwise the second small write of an answer waits 40 ms for an acknowledgement.
        wbufsize = -1
        disable_nagle_algorithm = True

        def do_GET(self) -> None:
            server.serve(self, "GET")

        def do_POST(self) -> None:
            server.serve(self, "POST")

        def do_DELETE(self) -> None:
            server.serve(self, "DELETE")

        def log_message(self, format: str, *args: object) -> None: ...

    return Handler


def _one(found: list[dict[str, Any]]) -> dict[str, Any]:
    if not found:
        raise Refusal(404, 40410000, "order not found")
    return found[0]


def _true(query: dict[str, str]) -> bool:
    return query.get("nested", "false") in ("1", "t", "T", "TRUE", "true", "True")


def _text(number: Any) -> str | None:
    return None if number is None else f"{float(number):.10g}"


def _require_whole_cents(name: str, price: Any) -> None:
    places = 2 if float(price) >= 1 else 4
    if abs(float(price) - round(float(price), places)) > 1e-9:
        said = f"invalid {name} {price}. sub-penny increment does not fulfill minimum pricing criteria"
        raise Refusal(422, 42210000, said)
