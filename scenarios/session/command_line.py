"""What the commands of run.py share: their program, their options, and the words for a command line that is wrong."""

import difflib
import re
import shlex
import sqlite3
import tomllib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import cyclopts
from cyclopts import Parameter
from rich.console import Console

from broker.errors import LbtError, ScenarioError, in_words
from scenarios.config.yaml_tree import shown
from scenarios.report.console import say
from scenarios.session.exit_codes import COMPLETE, FAILED, WRONG
from scenarios.session.running import holds_study

Overrides = Annotated[
    tuple[str, ...],
    Parameter(
        "--set", help="Change an entry of the file, such as --set task.problems=12.", negative="", show_default=False
    ),
]
Seed = Annotated[str | None, Parameter("--seed", help="Use another seed than the file's (of a study: its only seed).")]
Problems = Annotated[
    int | None,
    Parameter("--problems", help="The number of problems of a class from now on: --set task.problems=N."),
]
AsJson = Annotated[bool, Parameter("--json", help="Print JSON.", negative="", show_default=False)]
ScenarioFile = Annotated[Path, Parameter(help="A scenario file, such as scenarios/multi_student.yaml.")]
StudyFile = Annotated[Path, Parameter(help="A study file, such as scenarios/studies/diversity.yaml.")]
PlannedFile = Annotated[Path, Parameter(help="A scenario or study file, or the folder of a study.")]
RunDir = Annotated[Path, Parameter(help="The folder of a class, such as runs/multi_student-20260101-120000.")]
RunOrStudyDir = Annotated[Path, Parameter(help="The folder of a class or a study.")]
Overwrite = Annotated[bool, Parameter(help="Replace the tables of an earlier export.", negative="", show_default=False)]
RetryFailed = Annotated[bool, Parameter(help="Repeat failed requests.", negative="", show_default=False)]
OutDir = Annotated[Path | None, Parameter("--out", help="The run's folder; default: runs/NAME-TIME.")]
MonitorMode = Annotated[Literal["live", "plain", "off"], Parameter(help="How to show progress.")]


@Parameter(name="*")
@dataclass(frozen=True)
class Time:
    """The options of `plan` about time."""

    estimate: Annotated[
        bool,
        Parameter(
            help="Also estimate time and GPU-hours, and the share of time in which each agent is idle.",
            negative="",
            show_default=False,
        ),
    ] = False
    rate: Annotated[
        tuple[str, ...],
        Parameter(
            help="With --estimate: the speed of an agent, --rate NAME=8000@256: 8000 completion tokens/s with 256 "
            "requests at once; with /50000 behind it, also 50000 prompt tokens/s.",
            negative="",
            show_default=False,
        ),
    ] = ()
    answer_tokens: Annotated[
        int | None, Parameter(help="With --estimate: mean tokens of a completion; default: max_tokens.")
    ] = None

    def check(self, of_study: bool) -> None:
        """Refuse options that do not go together.

        Raises:
            ScenarioError: an option of the estimate without it, or a study.
        """
        if not self.estimate and (self.rate or self.answer_tokens is not None):
            raise ScenarioError("--rate and --answer-tokens go with plan SCENARIO --estimate")
        if self.estimate and of_study:
            raise ScenarioError("--estimate computes the time of one class; give its scenario, not a study")
        if self.answer_tokens is not None and self.answer_tokens < 1:
            raise ScenarioError(f"--answer-tokens {self.answer_tokens}: at least 1")


OFF = Time()
"""No estimate."""


def program(project: Path) -> cyclopts.App:
    """The program with the commands that need no agent; `project` is pyproject.toml, which has the version."""
    app = cyclopts.App(
        name="run.py",
        usage="Usage: python run.py SCENARIO.yaml [OPTIONS]   or   python run.py COMMAND ...",
        help="Experiments on learning by teaching with language models.",
        help_epilogue="--debug adds the traceback of an error. The logs of a class are in logs/ of its folder: "
        "AGENT.log of each agent, broker.log and run.log.",
        version=lambda: tomllib.loads(project.read_text())["project"]["version"],
        version_flags=["--version"],
        result_action="return_value",
        suppress_keyboard_interrupt=False,
    )
    # Commands that need no agent; they are imported when they are called.
    for command, help in (
        ("scenarios.studies.commands:compare", "Compare finished classes with the first one, problem by problem."),
        (
            "scenarios.studies.inspect_study:report",
            "Rebuild the summary and the page of a class or study from the recorded answers, and print the tables.",
        ),
        ("scenarios.studies.inspect_study:show", "Show any problem, rationale, exam and prompt of a class."),
        (
            "scenarios.studies.inspect_study:export",
            "Write the records of a class or study as tables: Parquet, CSV, JSON.",
        ),
        ("scenarios.session.inspect_run:replay", "Score recorded answers by another rule, without a model."),
        ("scenarios.studies.progress:watch", "Show a running class live, or the last state of a finished one."),
        ("scenarios.monitor.ctl:ctl", "Change a class while it runs, or show its progress."),
        ("scenarios.session.inspect_run:grade", "Grade the responses in a JSON-lines file, as a class does."),
        ("scenarios.session.slurm:slurm", "Write a batch file that runs a class on the nodes of a Slurm job."),
        ("scenarios.session.invitations:invite", "Write the file with which an agent joins a class from another host."),
        (
            "scenarios.session.invitations:revoke",
            "Withdraw the invitation of an agent; a running class continues without it.",
        ),
    ):
        app.command(command, help=help)
    return app


def with_seed(overrides: Sequence[str], seed: str | None, *, of_study: bool = False) -> tuple[str, ...]:
    """`overrides` plus the one for `--seed`.

    Raises:
        ScenarioError: the seed is no whole number.
    """
    if seed is None:
        return (*overrides,)
    if not re.fullmatch(r"-?[0-9]+", seed):
        raise ScenarioError(f"--seed: a whole number is wanted, not {shown(seed)}")
    return (*overrides, f"seeds=[{seed}]" if of_study else f"seed={seed}")


def with_problems(overrides: Sequence[str], problems: int | None) -> tuple[str, ...]:
    """`overrides` plus the one for `--problems`."""
    return (*overrides, *([] if problems is None else [f"task.problems={problems}"]))


def check_command(words: Sequence[str], commands: Sequence[str]) -> None:
    """Refuse a first word that is no command, no option and no file."""
    first, *rest = words
    if first in commands or first.startswith("-"):
        return
    for found, what in ((Path(first, "scenario.yaml").is_file(), "a run"), (holds_study(Path(first)), "a study")):
        if found:
            folder = shlex.quote(first)
            raise ScenarioError(f"{first} is the folder of {what}: python run.py resume|report|watch {folder}")
    if Path(first).suffix or Path(first).is_file():
        return
    if first == "run":
        raise ScenarioError(f"there is no command `run`; use python run.py {' '.join(rest) or 'SCENARIO.yaml'}")
    near = difflib.get_close_matches(first, commands, n=1)
    hint = f"did you mean {near[0]}?" if near else "python run.py --help lists the commands"
    raise ScenarioError(f"{first}: no such file, and no command of this name; {hint}")


def execute(app: cyclopts.App, words: Sequence[str], err: Console) -> int:
    """Run a command line, and print an error in one to three lines; returns the exit code."""
    debug = "--debug" in words
    words = [word for word in words if word != "--debug"] or ["--help"]
    try:
        check_command(words, [name for name in app if not name.startswith("-")])
        return int(app(words, exit_on_error=False, print_error=False) or COMPLETE)
    except Exception as error:
        if debug and not isinstance(error, cyclopts.CycloptsError):
            raise
        message, code = explain(error)
        say(err, message)
        return code


def explain(error: Exception) -> tuple[str, int]:
    """What to print about an error that ended a command, in one to three lines, and the exit code."""
    if isinstance(error, cyclopts.CycloptsError):
        unused: list[str] = getattr(error, "unused_tokens", None) or []
        if unused and unused[-1] in ("--set", "--seed", "--out", "--monitor"):
            return f"{unused[-1]} needs a value", WRONG
        command = " ".join(["python run.py", *(error.command_chain or ())])
        if type(error) is cyclopts.MissingArgumentError and error.argument and not error.keyword:
            return f"{command} needs {error.argument.name}; {command} --help explains it", WRONG
        if isinstance(error, cyclopts.UnknownOptionError) and not str(error).endswith("?"):
            return f"{error} {command} --help lists the options.", WRONG
        return f"Too many arguments; not understood: {' '.join(unused)}" if unused else str(error), WRONG
    if isinstance(error, LbtError | OSError | sqlite3.Error):
        database = isinstance(error.__cause__, sqlite3.Error)
        return in_words(error), FAILED if database or not isinstance(error, LbtError) else WRONG
    return f"{in_words(error)}\nThe same command with --debug shows where.", FAILED
