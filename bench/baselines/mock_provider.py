"""An OpenAI-compatible chat endpoint that costs almost nothing: `python -m bench.baselines.mock_provider PORT DELAY`.

It returns the same completion for every request, after DELAY seconds.
"""

import asyncio
import signal
import sys
from typing import Final

import orjson
import uvloop

from bench.http_server import answer, serve

BODY: Final = orjson.dumps(
    {
        "id": "chatcmpl-1",
        "object": "chat.completion",
        "created": 1,
        "model": "mock",
        "choices": [
            {
                "index": 0,
                "message": {"role": "assistant", "content": "Hello, reader."},
                "finish_reason": "stop",
                "logprobs": None,
            }
        ],
        "usage": {"prompt_tokens": 9, "completion_tokens": 5, "total_tokens": 14},
    }
)


async def main(port: int, delay: float) -> None:
    stopped = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stopped.set)
    ready = answer(BODY)
    async with serve(lambda _head, _body: ready, port=port, delay=delay):
        await stopped.wait()


if __name__ == "__main__":
    uvloop.run(main(int(sys.argv[1]), float(sys.argv[2])))
