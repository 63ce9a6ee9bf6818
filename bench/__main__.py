"""`python -m bench [SCENARIO …] [--json FILE] [--markdown FILE] [--png FILE] [--quick] [--settle SECONDS]`.

Without names it runs all scenarios. It prints each row as soon as it is measured, then the whole table. The exit code
is 1 when a scenario could not be measured; a missed target is a result, not a failure.
"""

import argparse
import gc
import os
import sys
import traceback
from collections.abc import Sequence
from pathlib import Path

import uvloop
from pydantic import JsonValue

from bench import machine, report
from bench.catalogue import SCENARIOS
from bench.outcome import Row
from bench.stack import open_bench
from core.process import COLLECTIONS


def main() -> int:
    # As the measured processes do: a garbage collection here would count as time of theirs.
    gc.freeze()
    gc.set_threshold(*COLLECTIONS)
    asked = _arguments()
    load = machine.wait_until_quiet(asked.settle)
    print(f"load average {load:.2f}", file=sys.stderr)
    facts, rows, failed = uvloop.run(_measure(asked.scenario or list(SCENARIOS), quick=asked.quick))
    table = report.as_markdown(facts, rows)
    print("\n" + table)
    if asked.markdown is not None:
        asked.markdown.write_text(table + "\n", encoding="utf-8")
    if asked.json is not None:
        asked.json.write_bytes(report.as_json(facts, rows))
    if asked.png is not None and not report.draw(rows, asked.png):
        print("no picture: matplotlib is not installed (`make bench` installs it)", file=sys.stderr)
    return 1 if failed else 0


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench")
    parser.add_argument("scenario", nargs="*", choices=[[], *SCENARIOS], metavar="SCENARIO", help=", ".join(SCENARIOS))
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the report as JSON")
    parser.add_argument("--markdown", type=Path, metavar="FILE", help="write the table")
    parser.add_argument("--png", type=Path, metavar="FILE", help="draw the ratios")
    parser.add_argument("--quick", action="store_true", help="tiny sizes: shows that it works, measures nothing")
    parser.add_argument("--settle", type=float, default=0, metavar="SECONDS", help="wait so long for a quiet machine")
    return parser.parse_args()


async def _measure(names: Sequence[str], *, quick: bool) -> tuple[dict[str, JsonValue], list[Row], list[str]]:
    rows: list[Row] = []
    failed: list[str] = []
    async with open_bench(quick=quick) as bench:
        facts = machine.facts(bench.servers.versions)
        for name in names:
            try:
                measured = await SCENARIOS[name](bench)
            except Exception:  # noqa: BLE001 - the other scenarios still can be measured
                failed.append(name)
                print(f"{name} could not be measured:", file=sys.stderr)
                traceback.print_exc()
                continue
            rows += measured
            for row in measured:
                print(f"{row.name}: {row.result}; {row.reference}; ratio {row.ratio}; met: {row.met}", flush=True)
        facts["load_average_after"] = round(os.getloadavg()[0], 2)
    return facts, rows, failed


if __name__ == "__main__":
    sys.exit(main())
