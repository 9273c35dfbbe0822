"""`python -m tests.gpu [--device cpu] [--json] [--out FOLDER]`: checks of everything that computes on a GPU.

Each phase is a process with a limit of its own, so an error of CUDA or a lack of memory ends one phase only. This
process imports no torch. It prints a line per check, writes gpu.json after each phase, and ends with a JSON object.
"""

import argparse
import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple

from agents.placement.hardware import this_machine
from tests.gpu.checks import MARK

ROOT = Path(__file__).parents[2]
DEADLINE_S = 525
"""Time for all phases; a phase that does not fit any more is skipped."""
ON_TRANSFORMERS = "vLLM is installed, and `auto` takes it; --only runs it"


class Phase(NamedTuple):
    """A module of this package."""

    name: str
    seconds: int
    """Estimated duration on an H100."""
    limit_s: int
    no_cpu: str = ""
    """Why it does not run with `--device cpu`, unless `--only` names it."""
    with_vllm: bool | None = None
    """It runs only where vLLM is installed, or only where it is not, unless `--only` names it; None: everywhere."""


PHASES = (
    Phase("here", 10, 60),
    Phase("context", 15, 60, "needs CUDA"),
    Phase("right", 60, 150),
    Phase("kernels", 20, 60, with_vllm=False),
    Phase("speed", 60, 180, with_vllm=False),
    Phase("sharing", 50, 120, with_vllm=False),
    Phase("give_back", 15, 60),
    Phase("train", 90, 180),
    Phase("whole_class", 50, 120, "tests/process/test_real_training.py runs it on the CPU"),
    Phase("large", 95, 240),
    Phase("on_vllm", 185, 300, "needs CUDA, or --only", with_vllm=True),
)
"""Cheap ones first: the machine may be taken back."""
Found = dict[str, Any]


def main() -> int:
    """Run all phases; return the exit code: 1 if a check failed."""
    parser = argparse.ArgumentParser(prog="python -m tests.gpu", description=__doc__)
    parser.add_argument("--device", choices=["cuda", "cpu"], default="cuda")
    parser.add_argument("--json", action="store_true", help="print only the last line")
    parser.add_argument("--out", type=Path, default=Path(os.environ.get("OUT") or "."), help="folder of gpu.json")
    parser.add_argument("--only", choices=[phase.name for phase in PHASES], nargs="+", help="run these phases")
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    device, why = _device(args.device)
    vllm = find_spec("vllm") is not None
    found: list[Found] = [_found("here: there is a GPU", "FAIL", why)] if why else []
    begin = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="lbt-gpu-") as scratch, (args.out / "gpu.log").open("w") as log:
        for phase in PHASES:
            if args.only and phase.name not in args.only:
                continue
            left = DEADLINE_S - (time.monotonic() - begin)
            if args.device == "cpu" and phase.no_cpu and not args.only:
                new = [_found(phase.name, "SKIP", phase.no_cpu)]
            elif why:
                new = [_found(phase.name, "SKIP", "there is no GPU")]
            elif args.device == "cuda" and not args.only and phase.with_vllm not in (None, vllm):
                new = [_found(phase.name, "SKIP", ON_TRANSFORMERS if vllm else "vllm is not installed")]
            elif args.device == "cuda" and left < phase.seconds:
                new = [_found(phase.name, "SKIP", f"{left:.0f} s are left, and it takes {phase.seconds}")]
            else:
                # A CPU may be slow and busy; nothing depends on how long it takes.
                limit = min(phase.limit_s, left) if args.device == "cuda" else 10 * phase.limit_s
                new = _run(phase.name, args.device, limit, Path(scratch), log)
            found += new
            if not args.json:
                for each in new:
                    print(_line(each), flush=True)
            whole = _whole(device, found)
            (args.out / "gpu.json").write_text(json.dumps(whole, indent=1) + "\n")
    whole = _whole(device, found)
    if not args.json:
        print(f"{len(found)} checks, {whole['failed']} failed, {time.monotonic() - begin:.0f} s; {args.out}/gpu.json")
    print(json.dumps(whole))
    return 1 if whole["failed"] else 0


def _device(kind: str) -> tuple[str, str]:
    """Return the device in words, and why it cannot be used."""
    if kind == "cpu":
        return "cpu", ""
    machine = this_machine()
    if machine.gpus:
        return f"{machine.gpus[0].name}, {machine.gpus[0].memory_mb / 1000:.1f} GB", ""
    return "none", machine.gpu_trouble or "nvidia-smi shows none; --device cpu tries the phases that need none"


def _run(name: str, device: str, limit_s: float, scratch: Path, log: Any) -> list[Found]:
    """Run one phase, and end all its processes after `limit_s`."""
    folder = scratch / name
    folder.mkdir()
    begin = time.monotonic()
    print(f"\n===== {name}", file=log, flush=True)
    process = subprocess.Popen(
        [sys.executable, "-W", "default", "-m", f"tests.gpu.{name}", device, str(folder)],
        cwd=ROOT,
        env=environment(device, folder),
        stdout=subprocess.PIPE,
        stderr=log,
        text=True,
        start_new_session=True,
    )
    assert process.stdout is not None
    timer = threading.Timer(limit_s, _end, [process])
    timer.start()
    found: list[Found] = []
    for line in process.stdout:
        if line.startswith(MARK):
            told = json.loads(line.removeprefix(MARK))
            found.append(told | {"name": f"{name}: {told['name']}"})
        else:
            print(line, end="", file=log, flush=True)
    code = process.wait()
    seconds = time.monotonic() - begin
    timer.cancel()
    _end(process)
    shutil.rmtree(folder, ignore_errors=True)
    if code:
        how = f"ended after {limit_s:.0f} s" if seconds >= limit_s else f"exit code {code}; gpu.log says why"
        found.append(_found(f"{name}: runs to its end", "FAIL", how))
    found.append(_found(f"{name}: seconds", "INFO") | {"figure": round(seconds, 1), "unit": "s"})
    return found


def environment(device: str, folder: Path) -> dict[str, str]:
    """Return the environment of a phase: that of an agent, without network, and with an empty cache."""
    told = {
        "PYTHONPATH": os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH", "")])),
        "PYTHONUNBUFFERED": "1",
        "LBT_CACHE": str(folder / "cache"),
        "LBT_DEVICE": device,
        "HF_HUB_OFFLINE": "1",
        "TRANSFORMERS_OFFLINE": "1",
        "HF_HUB_DISABLE_TELEMETRY": "1",
        "TOKENIZERS_PARALLELISM": "false",
        "CUDA_DEVICE_ORDER": "PCI_BUS_ID",
        "OMP_NUM_THREADS": "1",
    }
    return dict(os.environ) | told | ({"CUDA_VISIBLE_DEVICES": ""} if device == "cpu" else {})


def _end(process: "subprocess.Popen[str]") -> None:
    """Kill the phase's session: also the processes that it left behind."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)


def _found(name: str, state: str, note: str = "") -> Found:
    return {
        "name": name,
        "ok": state != "FAIL",
        "figure": 0.0,
        "state": state,
        "unit": "",
        "bound": "",
        "note": note,
    }


def _whole(device: str, found: list[Found]) -> Found:
    return {"device": device, "checks": found, "failed": sum(not each["ok"] for each in found)}


def _line(each: Found) -> str:
    figure = f"  {each['figure']:g} {each['unit']}".rstrip() if each["figure"] or each["bound"] else ""
    bound = f"  ({each['bound']})" if each["bound"] else ""
    return f"{each['state']}  {each['name']}{figure}{bound}" + (f"  {each['note']}" if each["note"] else "")


if __name__ == "__main__":
    sys.exit(main())
