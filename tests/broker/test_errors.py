"""The tree of errors: one root, and nothing beside it but what never leaves a function's caller."""

import ast
from pathlib import Path

import pytest

from broker.errors import LbtError, ModelError, in_words
from tests.classes import ROOT

BUILT_IN = {
    "Exception",
    "BaseException",
    "ValueError",
    "RuntimeError",
    "KeyError",
    "OSError",
    "LookupError",
    "TypeError",
}
CAUGHT_NEARBY = {"ControlInText", "TemplateFailed", "Postponed", "Endless", "Unusable"}
"""Each is raised and caught in one package and says nothing to a user."""


def classes_below(folder: str) -> dict[str, set[str]]:
    """The bases of each class in a package, by name."""
    found: dict[str, set[str]] = {}
    for path in Path(ROOT, folder).rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.ClassDef):
                found[node.name] = {ast.unparse(base).rpartition(".")[2] for base in node.bases}
    return found


@pytest.mark.parametrize("folder", ["agents", "broker", "scenarios"])
def test_every_error_has_the_one_root(folder: str) -> None:
    roots = {name for name, bases in classes_below(folder).items() if bases & BUILT_IN}
    assert roots - CAUGHT_NEARBY == ({"LbtError"} if folder == "broker" else set())


def test_an_error_says_its_agent_and_entry_until_the_scenario_names_the_line() -> None:
    assert str(ModelError("no such model", agent="ada", key=("model",))) == "ada: model: no such model"
    assert str(ModelError("is wrong", key=("students", 0, "gpu"))) == "students.0.gpu: is wrong"
    assert str(LbtError("plain")) == LbtError("plain").message == "plain"


def test_an_error_of_the_system_names_the_file_and_no_number() -> None:
    with pytest.raises(FileNotFoundError) as caught:
        Path("/no/such/file").read_text()
    assert in_words(caught.value) == "/no/such/file: No such file or directory"
