"""The bench as a command. `.ci/run` runs every scenario by `make bench QUICK=1`; here is what it refuses."""

import asyncio
import sys

from tests.architecture.repository import ROOT


async def test_an_unknown_scenario_is_refused() -> None:
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "bench", "sumbit",
        cwd=ROOT, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
    )  # fmt: skip
    output, _ = await process.communicate()

    assert process.returncode == 2
    assert b"submit" in output
