"""`python -m tests.proofs.dying_process`: real API and worker processes that end themselves at a step.

Importing the product takes longer than serving one job with it. So this process imports it once, and forks for each
line of its standard input, an Order as JSON: the child has the order's environment and runs the product's own entry
point, with the edges watched (tests/proofs/edges.py). It answers the child's pid when it starts, and its exit code and
the steps that it took, if it lived, when it has ended.
"""

import gc
import json
import os
import sys
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from importlib import import_module
from typing import Literal

import api.main
import worker.main
from tests.proofs.edges import Mishap, Plan, following, watch_edges


@dataclass(frozen=True)
class Order:
    """Which process, with which settings, and where it dies; None lets it live."""

    role: Literal["api", "worker"]
    environment: Mapping[str, str]
    step: str | None = None
    mishap: str | None = None

    def line(self) -> bytes:
        return json.dumps(asdict(self)).encode() + b"\n"


def main() -> None:
    # What is imported is shared with the children, untouched.
    gc.freeze()
    print("ready", flush=True)  # noqa: T201 - the answers are lines
    for line in sys.stdin:
        reader, writer = os.pipe()
        pid = os.fork()
        if pid == 0:
            os.close(reader)
            _become(Order(**json.loads(line)), writer)
        os.close(writer)
        print(json.dumps({"pid": pid}), flush=True)  # noqa: T201
        _, status = os.waitpid(pid, 0)
        with os.fdopen(reader) as report:
            steps = json.loads(report.read() or "[]")
        print(json.dumps({"exit": os.waitstatus_to_exitcode(status), "steps": steps}), flush=True)  # noqa: T201


def _become(order: Order, writer: int) -> None:
    """Never returns."""
    # Standard output is the parent's to answer on, and standard input holds its orders.
    null = os.open(os.devnull, os.O_RDWR)
    os.dup2(null, 0)
    os.dup2(null, 1)
    sys.argv = [order.role]
    os.environ.update(order.environment)
    plan = Plan({} if order.step is None or order.mishap is None else {order.step: Mishap(order.mishap)})
    run = {"api": api.main.main, "worker": worker.main.main}[order.role]
    with watch_edges(), following(plan):
        code = run()
    os.write(writer, json.dumps([str(step) for step in plan.taken]).encode())
    os._exit(code)


if __name__ == "__main__":
    # For the children: the worker's first call would load it otherwise, each time.
    import_module("core.providers.openai_compatible")
    main()
