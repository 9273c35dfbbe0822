"""The page about scenario files says what the schema says."""

from pathlib import Path
from typing import Any

import msgspec
import pytest
from msgspec import inspect as types

from broker import work_messages
from scenarios.config import process_schema, reference, schema, section
from scenarios.config.load import read
from scenarios.config.reference import EXAMPLE, field_docs, in_words, leading_comment, page, sections

ROOT = Path(__file__).parents[3]


def test_the_page_in_docs_is_up_to_date() -> None:
    assert (ROOT / "docs" / "scenarios.md").read_text("utf-8") == page(), (
        "python -m scenarios.config.reference > docs/scenarios.md"
    )


def test_every_key_of_every_section_has_a_row() -> None:
    text = page()
    found = dict(sections())
    assert {"", "task", "teacher, students.*", "broker", "iterate", "iterate.task"} <= set(found)
    for place, kind in found.items():
        assert (f"### `{place}`" if place else "### The file itself") in text
        for field in kind.fields:
            assert f"| `{field.encode_name}` | {in_words(field.type)} |" in text


def test_every_docstring_under_a_field_stands_on_the_page() -> None:
    docs = field_docs(schema) | field_docs(work_messages)
    text = page()
    for _, kind in sections():
        for meaning in docs.get(kind.cls.__name__, {}).values():
            assert meaning in text
    assert docs["Task"]["problems"] == "Number of teaching problems (TPs)."


@pytest.mark.parametrize(
    ("annotation", "words"),
    [
        (section.Positive, "a whole number, at least 1"),
        (section.Seconds, "a number, above 0"),
        (schema.Name, "a name (a small letter, then at most 31 small letters, digits, - or _)"),
        (bool, "true or false"),
        (str | None, "text"),
        (schema.EngineName, "auto, external, openai, simulated, transformers or vllm"),
        (tuple[int, ...], "a list, each a whole number"),
        (dict[str, Any], "a section with keys of its own"),
        (dict[str, section.Seconds], "{NAME: VALUE}, each value a number, above 0"),
        (object, "any value"),
    ],
)
def test_types_are_described_in_words(annotation: object, words: str) -> None:
    assert in_words(types.type_info(annotation)) == words


def test_every_pattern_of_the_schema_has_words() -> None:
    texts = [f.type for _, kind in sections() for f in kind.fields]
    members = [m for t in texts for m in (t.types if isinstance(t, types.UnionType) else (t,))]
    patterns = {m.pattern for m in members if isinstance(m, types.StrType) and m.pattern}
    assert patterns == set(reference.PATTERNS)


def test_the_example_on_the_page_is_a_scenario(tmp_path: Path) -> None:
    path = tmp_path / "example.yaml"
    path.write_text(EXAMPLE)
    assert EXAMPLE in page()
    assert [student.name for student in read(path).students] == ["tiny", "hasty"]


def test_the_overrides_on_the_page_work() -> None:
    overrides = ["task.problems=2", "students.0.persona=You are careful.", "lesson.sampling={top_k: 5}"]
    for override in overrides:
        assert override.split("=")[0] in page()
    scenario = read(ROOT / "scenarios" / "multi_student.yaml", [*overrides, "students.*.engine=simulated"])
    assert scenario.lesson.sampling == work_messages.Sampling(top_k=5)
    assert {student.engine for student in scenario.students} == {"simulated"}


def test_leading_comments_become_one_paragraph() -> None:
    assert leading_comment("# One.\n#  Two.\nname: x\n# not this\n") == "One. Two."


def test_a_default_is_shown_as_it_would_be_written() -> None:
    assert "| `greedy` | true or false | `true` |" in page()
    assert "| `seed` | a whole number | `0` |" in page()
    assert msgspec.structs.asdict(process_schema.Limits())["restarts"] == 2
    assert "| `restarts` | a whole number, at least 0 | `2` |" in page()
