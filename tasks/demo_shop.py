"""The demo's database: a small shop in SQLite, with exports and reports that really run over it."""

from __future__ import annotations

import json
import random
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

ORDERS = 30_000
_CITIES = ("Berlin", "Guangzhou", "Lagos", "Lima", "Osaka", "Toronto")


def shop(folder: Path) -> dict[str, str]:
    """Make the database in `folder`; the environment of a worker that exports from it and reports on it.

    What earlier demos left in the folders of exports and reports goes.
    """
    for name in ("exports", "reports"):
        (folder / name).mkdir(exist_ok=True)
        for old in (folder / name).glob("*.*"):
            if old.is_file():
                old.unlink()
    database = folder / "shop.db"
    database.unlink(missing_ok=True)
    _fill(database)
    source = {"url": f"sqlite:///{database}", "queries": _QUERIES}
    exports = {"root": str(folder / "exports"), "sources": {"shop": source}}
    reports = {"root": str(folder / "reports"), "definitions": {"sales": _SALES, "billing": _BILLING}}
    return {"CLOUDQ_EXPORTS": json.dumps(exports), "CLOUDQ_REPORTS": json.dumps(reports)}


def export(chance: random.Random) -> dict[str, Any]:
    """One export's payload; now and then of a table that is not there."""
    if chance.random() < 0.1:
        return {"source": "shop", "query": "invoices", "format": "csv"}
    kind = chance.choice(("csv", "csv", "jsonl", "xlsx", "parquet"))
    packed = {"compression": chance.choice(("gzip", "zstd"))} if kind == "jsonl" else {}
    return {"source": "shop", "query": "orders", "params": {"city": chance.choice(_CITIES)}, "format": kind, **packed}


def report(chance: random.Random) -> dict[str, Any]:
    """One report's payload; now and then over a table that is not there."""
    name = "billing" if chance.random() < 0.1 else chance.choice(("queue-health", "sales"))
    return {"report": name, "format": chance.choice(("html", "pdf"))}


_QUERIES = {
    "orders": {
        "sql": "SELECT id, placed_at, city, amount FROM orders WHERE city = :city ORDER BY id",
        "params": {"city": {"type": "string"}},
        "count": True,
    },
    "by-city": {"sql": "SELECT city, count(*) AS orders, sum(amount) AS amount FROM orders GROUP BY city"},
    "invoices": {"sql": "SELECT * FROM invoices"},
}
_SALES = {
    "title": "Sales by city",
    "queries": {"cities": {"source": "shop", "query": "by-city"}},
    "charts": [{"title": "Orders", "query": "cities", "kind": "bar", "x": "city", "y": ["orders"]}],
}
_BILLING = {"queries": {"invoices": {"source": "shop", "query": "invoices"}}}


def _fill(database: Path) -> None:
    chance = random.Random(7)  # noqa: S311 - a scene to repeat, not a secret
    rows = (
        (
            f"2026-{1 + n * 12 // ORDERS:02}-{1 + n % 28:02}",
            chance.choice(_CITIES),
            round(chance.lognormvariate(3, 1), 2),
        )
        for n in range(ORDERS)
    )
    with closing(sqlite3.connect(database)) as connection:
        connection.execute("CREATE TABLE orders (id INTEGER PRIMARY KEY, placed_at TEXT, city TEXT, amount REAL)")
        connection.executemany("INSERT INTO orders (placed_at, city, amount) VALUES (?, ?, ?)", rows)
        connection.commit()
