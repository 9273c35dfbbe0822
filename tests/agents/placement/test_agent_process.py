"""The environment of an agent's process."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from agents.placement.agent_process import agent_env
from agents.placement.seats import Seat

CPUINFO = Path("/proc/cpuinfo")
AMX = CPUINFO.is_file() and "amx_bf16" in CPUINFO.read_text()
SEAT = Seat("student", (), 0.0, (0,), 1, "", "")
PRODUCTS = """
import psutil, torch
torch.set_num_threads(1)
weights = [torch.randn(out, into).bfloat16() for out, into in ((896, 896), (128, 896), (4864, 896), (896, 4864))]
with torch.inference_mode():
    for rows in range(1, 201):
        for one in weights:
            torch.nn.functional.linear(torch.randn(rows, one.shape[1]).bfloat16(), one)
        if rows == 1:
            before = psutil.Process().memory_info().rss
print((psutil.Process().memory_info().rss - before) // 1_000_000)
"""
KEPT_MB = 450
"""Without the limits it is 650 MB, with them 270."""


def test_an_agent_keeps_few_compiled_products() -> None:
    env = agent_env(SEAT)
    assert env["LRU_CACHE_CAPACITY"] == env["ONEDNN_PRIMITIVE_CACHE_CAPACITY"] == "256"
    assert env["MALLOC_ARENA_MAX"] == "2"


@pytest.mark.skipif(not AMX, reason="few CPUs without AMX keep any")
def test_matrix_products_with_many_numbers_of_rows_keep_a_bounded_memory() -> None:
    env = {**os.environ, **agent_env(SEAT)}
    ran = subprocess.run([sys.executable, "-c", PRODUCTS], env=env, capture_output=True, text=True, check=True)
    assert int(ran.stdout) < KEPT_MB
