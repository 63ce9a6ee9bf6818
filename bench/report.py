"""The report of a run: JSON for programs, Markdown for the terminal and docs/performance.md, a picture for readers."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Final

import orjson
from pydantic import JsonValue

from bench.outcome import Row

_MET: Final = {True: "yes", False: "**no**", None: "–"}


def as_json(machine: Mapping[str, JsonValue], rows: Sequence[Row]) -> bytes:
    """`{"machine": …, "scenarios": [{"name", "target", "reference", "result", "ratio", "met", "details"}]}`."""
    document = {"machine": dict(machine), "scenarios": [asdict(row) for row in rows]}
    return orjson.dumps(document, option=orjson.OPT_INDENT_2) + b"\n"


def as_markdown(machine: Mapping[str, JsonValue], rows: Sequence[Row]) -> str:
    lines = ["| | target | reference | result | ratio | met |", "| --- | --- | --- | --- | --- | --- |"]
    lines += [
        f"| {row.name} | {row.target} | {row.reference} | {row.result} | {_ratio(row)} | {_MET[row.met]} |"
        for row in rows
    ]
    facts = ", ".join(f"{name} {value}" for name, value in machine.items() if value is not None)
    return "\n".join([*lines, "", f"Measured on: {facts}."])


def draw(rows: Sequence[Row], path: Path) -> bool:
    """A bar for each ratio, written as PNG. False when matplotlib is not installed."""
    try:
        from matplotlib.figure import Figure  # noqa: PLC0415 - for `make bench` only, and slow to load
    except ImportError:
        return False
    shown = [row for row in rows if row.ratio is not None]
    figure = Figure(figsize=(9, 0.45 * len(shown) + 1), layout="constrained")
    axes = figure.add_subplot()
    colours = ["#2a7f62" if row.met else "#b5442e" for row in shown]
    bars = axes.barh([row.name for row in shown], [row.ratio or 0.0 for row in shown], color=colours)
    axes.bar_label(bars, [f"{_ratio(row)}  (target: {row.target})" for row in shown], padding=4, fontsize=7)
    axes.axvline(1, color="#888888", linewidth=0.8)
    axes.set_xscale("log")
    axes.invert_yaxis()
    axes.set_xlabel("inferd against its reference; green: the target is met")
    axes.margins(x=0.6)
    figure.savefig(path, dpi=130)
    return True


def _ratio(row: Row) -> str:
    return "–" if row.ratio is None else f"{row.ratio:g}×"
