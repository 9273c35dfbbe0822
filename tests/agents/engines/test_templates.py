"""Chat templates that come with a model's files and may do anything."""

import os
import signal
from collections.abc import Iterator
from typing import Any

import pytest

from agents.engines import templates
from agents.engines.base import EngineFailure, EngineStartError, Turn
from agents.engines.chat import Chat
from agents.engines.templates import Renderer, TemplateFailed, TemplateTooSlow
from tests.agents.engines.local.test_engine import TEMPLATE, tokenizer

MESSAGES = [
    {"role": "system", "content": "Be brief."},
    {"role": "user", "content": 'Who\'s "<é>"?\n'},
    {"role": "assistant", "content": " 数 "},
]
ENDLESS = {
    "loops": "{% for a in range(99999) %}{% for b in range(99999) %}{{ b }}{% endfor %}{% endfor %}",
    "one operation": "{{ (7 ** (10 ** 8)) % 3 }}",
    "many words": "{{ lipsum(n=10000000) }}",
}
HUGE = {
    "one text": "{{ 'A' * 9999999999 }}",
    "doubled text": "{% set n = namespace(x='A') %}{% for a in range(99) %}{% set n.x = n.x ~ n.x %}{% endfor %}",
    "a list": "{{ [0] * 9999999999 }}",
    "padding": "{{ 'A'.center(9999999999) }}",
}


@pytest.fixture
def renderer() -> Iterator[Renderer]:
    made = Renderer()
    yield made
    made.close()


def render(renderer: Renderer, template: str, **values: Any) -> str:
    return renderer.render(template, {"messages": MESSAGES, "add_generation_prompt": True, **values})


def pid(renderer: Renderer) -> int:
    assert renderer._process is not None
    return renderer._process.pid


@pytest.mark.parametrize(
    "template",
    [
        TEMPLATE,
        "{% for m in messages %}\n  {{ m.content | trim }}\n{% endfor %}\n{{ bos_token }} {{ tools }} {{ documents }}",
        "{% for m in messages %}{% if loop.last %}{% break %}{% endif %}{{ m | tojson(indent=1) }}{% endfor %}",
        "{% for m in messages %}{% generation %}{{ m.content }}{% set x = 1 %}{% endgeneration %}{{ x }}{% endfor %}",
        "{{ strftime_now('%Y') }}{{ messages[0].get('name', 'nobody') }}{{ undefined_name }}{{ messages[1:] }}",
    ],
)
def test_a_template_renders_what_it_renders_in_transformers(renderer: Renderer, template: str) -> None:
    own = tokenizer(template)
    expected = own.apply_chat_template(MESSAGES, tokenize=False, add_generation_prompt=True)
    assert render(renderer, template, tools=None, documents=None, **own.special_tokens_map) == expected


@pytest.mark.parametrize("kind", ENDLESS)
def test_an_endless_template_ends_and_is_not_tried_again(
    renderer: Renderer, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(templates, "LIMIT_S", 0.3)
    for _ in range(2):
        with pytest.raises(TemplateTooSlow, match=r"more than 0\.3 s of processor time"):
            render(renderer, ENDLESS[kind])
    assert renderer._process is None
    assert render(renderer, "{{ messages | length }}") == "3"


@pytest.mark.parametrize("kind", HUGE)
def test_a_huge_text_is_refused_and_the_process_goes_on(renderer: Renderer, kind: str) -> None:
    with pytest.raises(TemplateFailed, match="1024 MB of memory"):
        render(renderer, HUGE[kind])
    served = pid(renderer)
    assert render(renderer, "{{ messages | length }}") == "3"
    assert pid(renderer) == served


def test_a_text_longer_than_any_context_is_refused(renderer: Renderer) -> None:
    with pytest.raises(TemplateFailed, match="a text of 19 MB"):
        render(renderer, "{{ 'A' * 20000000 }}")


@pytest.mark.parametrize(
    ("template", "says"),
    [
        ("{{ messages + 1 }}", "TypeError: can only concatenate list"),
        ("{{ 1 / 0 }}", "ZeroDivisionError"),
        ("{{ nothing.at.all }}", "'nothing' is undefined"),
        ("{% macro a() %}{{ a() }}{% endmacro %}{{ a() }}", "RecursionError"),
        ("{{ '\\ud800' }}", "UnicodeEncodeError"),
        ("\n{% if %}", "line 2: "),
        ("{{ raise_exception('first\nsecond') }}", "first second"),
        ("{{ ''.__class__.__mro__ }}", "unsafe"),
    ],
)
def test_a_mistake_in_a_template_is_told_in_one_line(renderer: Renderer, template: str, says: str) -> None:
    with pytest.raises(TemplateFailed) as caught:
        render(renderer, template)
    assert says in str(caught.value) and "\n" not in str(caught.value)


def test_a_process_that_another_program_ended_is_started_again(renderer: Renderer) -> None:
    render(renderer, "x")
    os.kill(pid(renderer), signal.SIGKILL)
    assert render(renderer, "{{ messages | length }}") == "3"


# --- what becomes of it in a chat ----------------------------------------------------------------------------


@pytest.mark.parametrize("broken", [ENDLESS["loops"], HUGE["one text"], "{{ messages + 1 }}", "{% if %}"])
def test_a_model_whose_template_renders_no_chat_cannot_start(broken: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(templates, "LIMIT_S", 1.0)
    own = tokenizer(broken + TEMPLATE)
    own.name_or_path = "/models/odd"
    with pytest.raises(EngineStartError, match="/models/odd") as caught:
        Chat(own, None)
    assert len(str(caught.value).splitlines()) <= 3


@pytest.mark.parametrize("broken", [ENDLESS["loops"], HUGE["one text"], "{{ messages + 1 }}", "{{ 1 / 0 }}"])
def test_turns_on_which_a_template_fails_fail_alone(broken: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(templates, "LIMIT_S", 1.0)
    chat = Chat(tokenizer("{% if messages | length > 2 %}" + broken + "{% endif %}" + TEMPLATE), None)
    with pytest.raises(EngineFailure, match="chat template") as caught:
        chat.encode([Turn("user", "a")] * 3, "")
    assert caught.value.kind == "unsupported"
