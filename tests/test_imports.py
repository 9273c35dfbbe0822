"""Imports run one way between the packages, and the program starts without a large library."""

import ast
import subprocess
import sys

from tests import classes

HEAVY = ("numpy", "scipy", "sympy", "matplotlib", "torch", "transformers", "reasoning_gym", "jinja2", "vl_convert")


def test_importing_run_loads_no_large_library() -> None:
    code = f"import sys, run; print([name for name in {HEAVY} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout.strip()) == (0, "[]"), done.stderr


FOLDERS = ["config", "records", "tasks", "scoring", "store", "levels", "report", "session", "monitor", "studies"]
"""Of scenarios/: each imports only those before it."""


def imported(path: str) -> set[tuple[str, ...]]:
    """The modules of the project that a file imports, as tuples of their parts."""
    nodes = ast.walk(ast.parse((classes.ROOT / path).read_text("utf-8")))
    modules = {node.module for node in nodes if isinstance(node, ast.ImportFrom) and node.module}
    return {tuple(module.split(".")) for module in modules}


def files(package: str) -> list[str]:
    return sorted(str(path.relative_to(classes.ROOT)) for path in (classes.ROOT / package).rglob("*.py"))


def test_agents_and_scenarios_do_not_import_each_other_and_the_broker_imports_neither() -> None:
    forbidden = {
        "agents": {"scenarios", "run"},
        "scenarios": {"agents", "run"},
        "broker": {"agents", "scenarios", "run"},
    }
    for package, others in forbidden.items():
        for path in files(package):
            assert not {module[0] for module in imported(path)} & others, path


def test_each_folder_of_scenarios_imports_only_those_before_it() -> None:
    for path in files("scenarios"):
        folder = path.split("/")[1]
        if folder not in FOLDERS:
            continue
        for module in imported(path):
            if module[0] == "scenarios" and len(module) > 1 and module[1] != folder:
                assert FOLDERS.index(module[1]) < FOLDERS.index(folder), f"{path} imports {'.'.join(module)}"


def test_no_two_classes_of_the_product_have_one_name() -> None:
    seen: dict[str, str] = {}
    for package in ("agents", "broker", "scenarios"):
        for path in files(package):
            for node in ast.walk(ast.parse((classes.ROOT / path).read_text("utf-8"))):
                if isinstance(node, ast.ClassDef):
                    assert node.name not in seen, f"{node.name}: {seen[node.name]} and {path}"
                    seen[node.name] = path
