import sys, uvloop, asyncio
from bench.stack import open_bench
from bench.catalogue import SCENARIOS
async def main(names):
    async with open_bench(quick="--quick" in sys.argv) as bench:
        for n in names:
            for row in await SCENARIOS[n](bench): print(row, flush=True)
uvloop.run(main([a for a in sys.argv[1:] if not a.startswith("-")]))
