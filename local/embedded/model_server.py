"""The process of the local model: llama.cpp's OpenAI-compatible server on a free port of loopback.

local_model.py runs it as a script. It imports nothing of inferd, so it starts from any directory. Once the model is
loaded, the file READY appears, complete, with the server's address. A request without the bearer key of LOCAL_MODEL_KEY
is refused.   model_server.py GGUF NAME READY
"""

import os
import signal
import sys
from pathlib import Path

import xllamacpp

_SLOTS = 4
_TOKENS_PER_SLOT = 2048
# A model of this size may go on until its context is full, which takes a minute on one core.
_MOST_OUTPUT_TOKENS = 512
_THREADS = 2


def threads() -> int:
    """Returns at most half the cores: the threads spin while they wait for each other, so with a thread for every core
    they drop from 120 to 5 tokens a second as soon as PostgreSQL, the API or a worker needs a core.
    """
    cores = len(os.sched_getaffinity(0)) if sys.platform == "linux" else os.cpu_count() or 1
    return max(1, min(_THREADS, cores // 2))


def serve(weights: str, name: str) -> xllamacpp.Server:
    params = xllamacpp.CommonParams()
    params.model.path = weights
    params.model_alias = {name}
    params.hostnames = ["127.0.0.1"]
    params.port = 0
    params.api_keys = [os.environ["LOCAL_MODEL_KEY"]]
    params.cors_origins = ""
    params.ui = False
    params.endpoint_slots = False
    params.offline = True
    params.n_parallel = _SLOTS
    params.n_predict = _MOST_OUTPUT_TOKENS
    params.n_ctx = _SLOTS * _TOKENS_PER_SLOT
    params.cpuparams.n_threads = threads()
    params.n_threads_http = 2 * _SLOTS
    params.n_gpu_layers = 0
    # Without measuring memory and without a warm-up prompt: this halves the time to load.
    params.fit_params = False
    params.warmup = False
    params.cache_ram_mib = 64
    # The defaults that the makers of SmolLM2 recommend.
    params.sampling.temp = 0.2
    params.sampling.top_p = 0.9
    params.verbosity = 1
    return xllamacpp.Server(params)


def main(weights: str, name: str, ready: str) -> None:
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    server = serve(weights, name)
    fresh = Path(f"{ready}.new")
    fresh.write_text(server.listening_address)
    fresh.replace(ready)
    # Its threads serve requests. SIGTERM may end the process at any point: it has nothing to save.
    while True:
        signal.pause()


if __name__ == "__main__":
    main(*sys.argv[1:])
