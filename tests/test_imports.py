"""What must not be loaded before a class's first request."""

import subprocess
import sys

HEAVY = ("numpy", "scipy", "sympy", "matplotlib", "torch", "transformers", "reasoning_gym")


def test_importing_run_loads_no_large_library() -> None:
    code = f"import sys, run; print([name for name in {HEAVY} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout.strip()) == (0, "[]"), done.stderr
