"""What is here: versions, and the GPUs that placement, nvidia-smi and torch see."""

import os
import subprocess
import sys
import time
from importlib.metadata import PackageNotFoundError, version

from agents.placement.hardware import this_machine
from tests.gpu.checks import Setting, check, info, phase, skip

LIBRARIES = ("torch", "transformers", "peft", "trl", "vllm", "pyzmq", "msgspec", "datasets", "pyarrow")


def run(setting: Setting) -> None:
    for name in LIBRARIES:
        try:
            info(name, note=version(name))
        except PackageNotFoundError:
            info(name, note="not installed")
    begin = time.monotonic()
    machine = this_machine()
    seconds = time.monotonic() - begin
    check("cores and memory are known", bool(machine.cores) and machine.memory_mb > 0, len(machine.cores), "cores")
    if not setting.cuda:
        skip("placement, nvidia-smi and torch agree", "needs CUDA")
        return
    check("placement is quick", seconds < 10, seconds, "s", "below 10 s")
    check("placement sees one GPU or more", len(machine.gpus) >= 1, len(machine.gpus), "GPUs", "at least 1")
    import torch

    free, total = torch.cuda.mem_get_info(0)
    apart = abs(total / 1e6 - machine.gpus[0].memory_mb) / machine.gpus[0].memory_mb
    check("nvidia-smi and torch name one memory", apart <= 0.03, apart, "", "at most 0.03 apart")
    info("free memory", free / 1e9, "GB", torch.cuda.get_device_name(0))
    own = str(torch.cuda.get_device_properties(0).uuid)
    uuid = own if own.startswith("GPU-") else f"GPU-{own}"
    for label, value in {"empty": "", "0": "0", "a UUID": uuid, "a short UUID": uuid[:12], "7": "7"}.items():
        seen = visible(value)
        note = f"torch sees {seen[1]}; {seen[2]}".rstrip("; ")
        check(f"CUDA_VISIBLE_DEVICES is {label}", seen[0] == seen[1], seen[0], "GPUs", "as many as torch sees", note)


def visible(value: str) -> tuple[int, int, str]:
    """Return how many GPUs placement and torch see with this CUDA_VISIBLE_DEVICES, and what placement complains of."""
    code = "import torch; print(torch.cuda.device_count())"
    env = os.environ | {"CUDA_VISIBLE_DEVICES": value}
    child = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True, timeout=60)
    before = os.environ.get("CUDA_VISIBLE_DEVICES")
    os.environ["CUDA_VISIBLE_DEVICES"] = value
    machine = this_machine()
    del os.environ["CUDA_VISIBLE_DEVICES"]
    if before is not None:
        os.environ["CUDA_VISIBLE_DEVICES"] = before
    return len(machine.gpus), int(child.stdout.split()[-1]), machine.gpu_trouble.partition("\n")[0]


if __name__ == "__main__":
    phase(run)
