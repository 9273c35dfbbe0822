"""The memory of a CUDA device that a process shares with others: its own share, and waiting until it is free."""

import logging
import time

import torch

from agents.placement.memory import MB

log = logging.getLogger(__name__)

WAIT_S = 30.0
"""How long to wait for memory. A process that was ended may hold its memory for some seconds."""
POLL_S = 0.25


def take_share(device: torch.device, share: float) -> None:
    """Wait until the share of a CUDA device is free, and allocate no more than it; on other devices, do nothing.

    If it does not become free, the process goes on: it may need less than its share.

    Args:
        device: the device to compute on.
        share: of the device's memory, without the context of the process; 0: all of it, without waiting.
    """
    if device.type != "cuda" or not share:
        return
    torch.cuda.set_per_process_memory_fraction(share, device)
    until = time.monotonic() + WAIT_S
    while True:
        free, total = torch.cuda.mem_get_info(device)
        if free >= share * total:
            return
        if time.monotonic() > until:
            log.warning("%.1f GB are free on %s, and %.1f GB are this agent's", free / 1e9, device, share * total / 1e9)
            return
        time.sleep(POLL_S)


def free_mb(device: torch.device, share: float) -> int:
    """Return the MB of a CUDA device that are free to this process.

    Args:
        device: the device to compute on.
        share: of the device's memory, as `take_share` took it.
    """
    free, total = torch.cuda.mem_get_info(device)
    if share:
        free = min(free, int(share * total) - torch.cuda.memory_allocated(device))
    return max(0, free // MB)
