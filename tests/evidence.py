"""What docs/evidence.md shows, made from the results in docs/evidence.

A result is the `summary.json` of a class, as the command in docs/evidence.md wrote it; `study.json` of its study lies
beside it. `python -m tests.evidence` writes a page and two pictures from them and prints the tables of the document.
Tests compare all of it with what is in docs.
"""

import math
import re
from collections.abc import Iterable, Sequence
from pathlib import Path

import msgspec
from rich.console import Console

from scenarios.report import signals
from scenarios.report.formatting import percent
from scenarios.report.page import charts
from scenarios.report.page.chart_data import Dot, PageTable
from scenarios.report.summary import Summary
from scenarios.report.tables import summary_tables

FOLDER = Path(__file__).parents[1] / "docs" / "evidence"
WIDTH = 100
GAINS, SIGNALS = "gains.svg", "signals.svg"
HEADINGS = ("class", "teacher, students", "TPs", "EAs", "SC", "M1 SUM", "best TR", "SUM - SC, points", "AUC of LbT")
TRAINED = ("class", "TPs", "held-out", "original", "M2", "correctness", "shuffled")
"""Then the differences of M2 from each of the others."""
OF_FAMILY = "family_"
"""Results whose names begin so are a table of their own."""
TEACHERS = ("original", "m2", "correctness_dpo", "shuffled")
NAMES = {
    "qwen2.5-coder-1.5b-instruct": "Qwen 1.5B",
    "qwen2.5-coder-0.5b-instruct": "Qwen 0.5B",
    "smollm2-135m-instruct": "SmolLM2",
}
COLOURS = {"--ink": "#1f2328", "--faint": "#656d76", "--line": "#d0d7de"}
"""Of a picture, which has no style sheet."""
BACKGROUND = "#ffffff"


def results() -> dict[str, Summary]:
    """The results by their names."""
    return {
        path.name.removesuffix(".summary.json"): msgspec.json.decode(path.read_bytes(), type=Summary)
        for path in sorted(FOLDER.glob("*.summary.json"))
    }


def page(name: str, summary: Summary) -> str:
    """A result as `run.py report` prints it, in Markdown."""
    console = Console(width=WIDTH, color_system=None, force_terminal=False)
    with console.capture() as capture:
        console.print(summary_tables(summary))
    lines = [line.rstrip() for line in capture.get().splitlines()]
    text = "\n".join(lines).strip()
    return (
        f"# {name}\n\nThe report of [{name}.summary.json]({name}.summary.json); "
        f"[evidence.md](../evidence.md) says how it came about and what it shows.\n\n```\n{text}\n```\n"
    )


def taught(found: dict[str, Summary]) -> dict[str, Summary]:
    """The results in which exams chose the teacher's answers (level 1), without the classes that compare families."""
    return {name: one for name, one in found.items() if one.level == 1 and not name.startswith(OF_FAMILY)}


def overview(found: dict[str, Summary]) -> str:
    """All results of level 1 in a table in Markdown."""
    return _table(HEADINGS, [_row(name, one) for name, one in taught(found).items()])


def families(found: dict[str, Summary]) -> str:
    """The results of the classes that compare families of problems, in a table in Markdown."""
    chosen = {name: one for name, one in found.items() if name.startswith(OF_FAMILY)}
    return _table(HEADINGS, [_row(name, one) for name, one in chosen.items()])


def _table(headings: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    return "\n".join(f"| {' | '.join(row)} |" for row in [headings, ("---",) * len(headings), *rows])


def _row(name: str, one: Summary) -> tuple[str, ...]:
    gain = next(pair for pair in one.paired if (pair.a, pair.b) == ("m1_sum", "sc"))
    low, high = gain.ci95
    lbt = next((signal for signal in one.signals if signal.name == "lbt"), None)
    return (
        f"[{name}](evidence/{name}.md)",
        who(one),
        f"{one.counts.teaching_problems}",
        f"{one.counts.exam_answers:,}",
        percent(one.methods["sc"].accuracy),
        percent(one.methods["m1_sum"].accuracy),
        percent(one.best_possible.accuracy),
        f"{100 * gain.difference:+.1f} ({100 * low:+.1f} to {100 * high:+.1f})",
        f"{lbt.auc:.2f} ({lbt.ci95[0]:.2f} to {lbt.ci95[1]:.2f})" if lbt else "-",
    )


def training(found: dict[str, Summary]) -> str:
    """All results of level 2 in a table in Markdown: pass@1 on held-out problems."""
    headings = (*TRAINED, *(f"M2 - {name}" for name in ("original", "correctness", "shuffled")))
    return _table(headings, [_trained_row(name, one) for name, one in found.items() if one.level == 2])


def _trained_row(name: str, one: Summary) -> tuple[str, ...]:
    last = one.levels.learn.rounds[-1]
    measured = {row.teacher: row for row in last.teachers}
    pairs = {(pair.a, pair.b): pair for pair in last.paired if pair.measure == "sampled"}
    differences = []
    for other in ("original", "correctness_dpo", "shuffled"):
        sign, pair = (1, pairs["m2", other]) if ("m2", other) in pairs else (-1, pairs[other, "m2"])
        low, high = sorted(100 * sign * bound for bound in pair.ci95)
        better, worse = (pair.wins, pair.losses)[::sign]
        differences.append(
            f"{100 * sign * pair.difference:+.1f} ({low:+.1f} to {high:+.1f}); {better} better, {worse} worse"
        )
    return (
        f"[{name}](evidence/{name}.md)",
        f"{one.counts.teaching_problems}",
        f"{measured['original'].n}",
        *(percent(measured[teacher].sampled) for teacher in TEACHERS),
        *differences,
    )


def who(one: Summary) -> str:
    """The models of a class: the teacher's, and those of its students."""
    teacher, *students = [NAMES.get(agent.model, agent.model) for agent in one.agents]
    return f"{teacher} teaches {', '.join(students)}"


def pictures(found: dict[str, Summary]) -> dict[str, str]:
    """By file, as SVG: what M1 gains over self-consistency, and what tells right TRs from wrong ones."""
    gains: list[Dot] = []
    told: list[Dot] = []
    for number, (name, one) in enumerate(taught(found).items()):
        # Labels differ from those of all other rows: those of each class end in one blank more.
        blanks = " " * number
        heading = Dot(name, None, None, name, columns=("", ""), heading=True)
        gains += [
            heading,
            *(
                _dot(f"{pair.a.removeprefix('m1_').upper()} - SC{blanks}", pair.difference, pair.ci95, "+.3f")
                for pair in one.paired
                if pair.b == "sc"
            ),
        ]
        told += [
            heading,
            *(_dot(f"{signals.label(each.name)}{blanks}", each.auc, each.ci95, ".2f") for each in one.signals),
        ]
    bounds = [bound for dot in gains if dot.ci95 for bound in dot.ci95]
    domain = math.floor(10 * min(bounds)) / 10, math.ceil(10 * max(bounds)) / 10
    return {
        GAINS: _picture("M1 less self-consistency, in points", gains, domain, 0.0, "points"),
        SIGNALS: _picture("What tells right rationales from wrong ones", told, (0.2, 1.0), 0.5, "AUC"),
    }


def _dot(label: str, value: float, ci95: tuple[float, float], form: str) -> Dot:
    low, high = ci95
    said = f"{value:{form}}", f"{low:{form}} to {high:{form}}"
    return Dot(label, value, ci95, " ".join(said), columns=said)


def _picture(title: str, dots: list[Dot], domain: tuple[float, float], reference: float, unit: str) -> str:
    """A dot plot as a file of its own: with a background, and colours instead of the page's variables."""
    headings = ("", "95 %")
    chart = charts.dot_plot(
        title, dots, PageTable((), ()), domain=domain, reference=reference, headings=headings, unit=unit
    )
    svg = re.sub(r"var\((--[\w-]+)\)", lambda name: COLOURS[name[1]], str(chart.wide))
    style = f'style="background: {BACKGROUND}; font-family: sans-serif" '
    return svg.replace("<svg ", f'<svg xmlns="http://www.w3.org/2000/svg" {style}', 1) + "\n"


def main() -> None:
    """Write the pages and the pictures, and print the tables."""
    found = results()
    for name, one in found.items():
        (FOLDER / f"{name}.md").write_text(page(name, one), "utf-8")
    for name, drawn in pictures(found).items():
        (FOLDER / name).write_text(drawn, "utf-8")
    print(overview(found), families(found), training(found), sep="\n\n")


if __name__ == "__main__":
    main()
