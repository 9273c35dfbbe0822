"""The parts of a page without a browser: sentences, rows of the gradebook, packs of texts, drawings."""

import base64
import gzip
import json
import re
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from scenarios.config.schema import Agent
from scenarios.report.methods import Comparison
from scenarios.report.page import analysis, doubts, figures, texts
from scenarios.report.page.answer import verdict
from scenarios.report.page.chart_data import Dot, PageTable
from scenarios.report.page.charts import dot_plot
from scenarios.report.page.document import as_data
from scenarios.scoring.curves import PartCurve
from tests.scenarios.report.page.played import play, written

NOTHING = PageTable(("name",), ())


def data_of(page: Path) -> dict[str, object]:
    found = re.findall(r'<script type="application/json" id="data">(.*?)</script>', page.read_text("utf-8"), re.S)
    data: dict[str, object] = json.loads(found[0])
    return data


@given(st.text())
def test_no_text_ends_the_script_that_holds_it(text: str) -> None:
    written = as_data([text])
    assert not set("<>&\u2028\u2029") & set(written)
    assert json.loads(written) == [text]


@pytest.mark.parametrize(
    ("wins", "losses", "p", "said"),
    [
        (9, 2, 0.04, "Significant (p < 0.05)."),
        (4, 2, 0.6, "Not significant. About 380 problems would show this difference."),
        (0, 0, 1.0, "Both are right and wrong on the same problems."),
    ],
)
def test_a_verdict_says_no_more_than_its_p_value(wins: int, losses: int, p: float, said: str) -> None:
    pair = Comparison("m1_sum", "sc", 0.1, (-0.02, 0.28), wins, losses, p, 30)
    sentence = verdict(pair)
    assert sentence.endswith(said)
    assert sentence.startswith("+10.0 points (95 % \u22122.0 to +28.0, p = ")


def test_methods_have_a_column_of_costs_where_prices_are_known(tmp_path: Path) -> None:
    prices = "{base_url: 'http://localhost:9/v1', price_per_million_prompt: 1, price_per_million_completion: 10}"
    teacher = ("teacher.engine=openai", "teacher.model=m", f"teacher.engine_args={prices}")
    free, priced = play(tmp_path / "free"), play(tmp_path / "priced", *teacher)
    without, found = (figures.methods(folder.rebuild(folder.scenario()).summary) for folder in (free, priced))
    assert without and "cost" not in without.table.columns
    assert found and found.table.columns[-1] == "cost" and "cost" in found.wide
    # 20 tokens for each of 3 problems, and of 3 rationales under each; the students have no prices.
    assert [row[-1] for row in found.table.rows] == ["0.00060", "0.00180", "0.00180", "0.00180", "0.00180", "-"]


def test_names_in_a_drawing_are_escaped_and_shown_on_hover() -> None:
    hostile = '"><script>&'
    chart = dot_plot(hostile, [Dot(hostile, 0.5, (0.2, 0.8), hostile)], NOTHING)
    for drawing in (chart.wide, chart.narrow):
        assert "<script" not in drawing and "style=" not in drawing and "#000" not in drawing
        assert "<title>&quot;&gt;&lt;script&gt;&amp;</title>" in drawing


def test_a_pack_holds_every_exam_answer_of_its_problem_once(tmp_path: Path) -> None:
    folder = play(tmp_path / "run")
    data = data_of(written(folder))
    inline = data["texts"]["inline"]  # type: ignore[index]
    exams = [one for pack in inline for one in json.loads(gzip.decompress(base64.b64decode(pack)))["exams"]]
    assert len(exams) == folder.rebuild(folder.scenario()).summary.counts.exam_answers
    assert {one[1] for one in exams} == {"weak", "average", "strong"}


def test_the_folder_of_texts_is_whole_or_absent(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = play(tmp_path / "run")
    monkeypatch.setattr(texts, "INLINE_BYTES", 1)
    written(folder)
    written(folder)
    names = {path.name for path in folder.path.iterdir()}
    assert texts.FOLDER in names and not any("partial" in name for name in names)


def test_money_and_levels_have_charts_where_they_are_known(tmp_path: Path) -> None:
    folder = play(tmp_path / "run")
    summary = folder.rebuild(folder.scenario()).summary
    assert summary.curves is not None
    titles = [chart.title for chart in analysis.curves(summary)]
    assert "By money a problem" not in titles and not any("for each" in title for title in titles)
    priced = [
        replace(at, methods={name: replace(one, money=0.01 * one.tokens) for name, one in at.methods.items()})
        for at in summary.curves.rationales
    ]
    levels = [PartCurve("<1>", priced), PartCurve("", priced)]
    known = replace(summary, curves=replace(summary.curves, rationales=priced, levels=levels))
    charts = {chart.title: chart for chart in analysis.curves(known)}
    assert len(charts) == len(titles) + 2
    assert {row[0] for row in charts["By rationales, for each level"].table.rows} == {"<1>", "not named"}
    assert charts["By money a problem"].table.columns[0] == "money"


@pytest.mark.parametrize(("computed", "said"), [("float32, weights in int8", 0), ("bfloat16, weights in int8", 1)])
def test_quantized_weights_are_no_other_dtype(computed: str, said: int) -> None:
    asked = Agent(name="ada", dtype="float32")
    ran = SimpleNamespace(name="ada", engine="transformers", device="CPU, 1 thread", dtype=computed)
    doubted = doubts._elsewhere(cast(Any, SimpleNamespace(agents=[ran])), cast(Any, SimpleNamespace(agents=[asked])))
    assert len(list(doubted)) == said
