"""`python -m tests.benchmarks NAME [--quick] [--seed N] [--json]`: one measurement, its last line one JSON object.

Nothing here is asserted by a test: times on a shared machine vary by a third. What is compared is run interleaved,
and the ratio is of medians.
"""

import argparse
import importlib
import json
import platform
import signal
import sys
from importlib.metadata import version
from typing import Any

BENCHMARKS = {
    "adaptive": "adaptive",
    "analysis": "analysis",
    "broker": "broker",
    "broker-batched": "broker_batched",
    "common-prefix": "common_prefix",
    "cores": "cores",
    "coverage": "coverage",
    "engine-transformers": "engine_transformers",
    "engine-vllm": "engine_vllm",
    "estimate": "estimate",
    "handover": "handover",
    "iterate": "iterate",
    "memory": "memory",
    "monitor": "monitor",
    "monitor-students": "monitor_students",
    "peers": "peers",
    "pipelining": "pipelining",
    "prefix": "prefix",
    "sandbox": "sandbox",
    "startup": "startup",
    "startup-vllm": "startup_vllm",
    "store": "store",
    "students": "students",
    "training": "training",
    "weights": "weights",
}


def machine() -> dict[str, Any]:
    """What the figures were measured on."""
    import os

    names = {line.split(":")[1].strip() for line in _cpuinfo() if line.startswith("model name")}
    return {
        "cpu": ", ".join(sorted(names)) or platform.processor(),
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "python": platform.python_version(),
        "torch": version("torch"),
    }


def _cpuinfo() -> list[str]:
    try:
        with open("/proc/cpuinfo") as file:
            return file.readlines()
    except OSError:
        return []


def main() -> None:
    """Run one benchmark and print what it found."""
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks", description=__doc__)
    parser.add_argument("name", choices=sorted(BENCHMARKS))
    parser.add_argument("--quick", action="store_true", help="within a minute")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", action="store_true", help="only the last line")
    args = parser.parse_args()
    # So that a benchmark that is told to end ends what it has started, too.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    module = importlib.import_module(f"tests.benchmarks.{BENCHMARKS[args.name]}")
    found = module.run(args.quick, args.seed)
    found["detail"] = {**found["detail"], "seed": args.seed, "machine": machine()}
    if not args.json:
        for key, value in found["detail"].items():
            print(f"{key}: {value}")
        verdict = "at least" if found["better"] == "higher" else "at most"
        print(f"{found['name']}: {found['ratio']:.3f} (goal: {verdict} {found['goal']:g})")
    print(json.dumps(found))


if __name__ == "__main__":
    main()
