"""llama.cpp's own server within this process, until it is ended: `python -m tests.benchmarks.peers_llama PORT FILE`.

The wheel `xllamacpp` has it. The wheel's code for CPUs knows AVX2, but neither AVX-512 nor bfloat16 instructions.
"""

import importlib
import sys
import threading

SLOTS = 16
"""Requests that run at once."""


def main(port: str, file: str, threads: str, context: str) -> None:
    """Serve one GGUF file; `context` is the tokens of the longest prompt with its answer."""
    xllamacpp = importlib.import_module("xllamacpp")
    told = xllamacpp.CommonParams()
    told.model.path = file
    told.hostnames = ["127.0.0.1"]
    told.port = int(port)
    told.n_parallel = SLOTS
    told.n_ctx = SLOTS * int(context)
    told.n_gpu_layers = 0
    told.cpuparams.n_threads = told.cpuparams_batch.n_threads = int(threads)
    server = xllamacpp.Server(told)
    print(f"listening at {server.listening_address}", flush=True)
    threading.Event().wait()


if __name__ == "__main__":
    main(*sys.argv[1:])
