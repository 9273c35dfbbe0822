"""The columns of every exported table: name, type, unit, meaning, and when there is no value. docs/data.md prints them.

`python -m scenarios.report.export_columns` prints the part of docs/data.md that lists them.
"""

import sys
from typing import Literal, NamedTuple

Kind = Literal["text", "integer", "number", "boolean"]


class Column(NamedTuple):
    """One column."""

    name: str
    kind: Kind
    meaning: str
    null: str = "never"
    """When there is no value."""
    unit: str = ""


class TableOf(NamedTuple):
    """One table: a row for each ..."""

    row: str
    columns: tuple[Column, ...]
    absent: str = ""
    """Why a class has no such table."""


FAILED = "the request failed"
NO_TR = "none was read (stages alone and agree)"
NO_ANSWER = "no answer was found, or the request failed"
RESULT = (
    Column("failed", "text", "kind of the failure: context, engine, deaths, unsupported or refused", "it did not fail"),
    Column("prompt_tokens", "integer", "length of the prompt", unit="tokens"),
    Column("cached_tokens", "integer", "those of them that a prefix cache held", unit="tokens"),
    Column("completion_tokens", "integer", "length of the completion", unit="tokens"),
    Column("thought_tokens", "integer", "those of them that are thoughts, which no text holds", unit="tokens"),
    Column("seconds", "number", "time in the engine", unit="s"),
    Column("finish_reason", "text", "stop, or length: cut off by max_tokens"),
    Column(
        "temperature", "number", "what it was drawn with; 0 is greedy", "nothing was drawn, or an old version ran it"
    ),
    Column("at", "text", "when it was recorded: UTC, ISO 8601"),
)
COMPLETION = (
    Column("text", "text", "the completion", FAILED),
    Column("answer", "text", "the answer that the grader found in it", NO_ANSWER),
)
CORRECT = Column("correct", "boolean", "whether it is right by the latest grade, also where it was cut off", FAILED)
NO_GRADE = f"{FAILED}, or the gold answer was not known yet (stage agree)"
PLACE = (
    Column("stage", "text", "what it was asked for; docs/results.md lists the stages"),
    Column("level", "integer", "level that asked first"),
    Column("round", "integer", "round that asked first; 0 at level 1"),
)
WEIGHTS = Column("weights", "text", "digest of the trained weights that answered", "the model's own weights answered")
NO_PROGRAM = "it is no program, or an old version ran it"
NO_HIDDEN = "it is no program, or there are no hidden cases"
NO_HALVING = "it is no TR, or `exam.allocation` is not `halving`"
FAILING = Column(
    "failing", "text", "visible cases that its program fails, one a line", "it fails none, or nobody repairs programs"
)
NO_TP = "the class only classifies (level 3)"

TABLES = {
    "problems": TableOf(
        "problem",
        (
            Column("id", "text", "id of the problem"),
            Column("use", "text", "teaching (TP), exam (EP), held_out (level 2), train, dev or test (level 3)"),
            Column("tp", "text", "id of the TP that this is an exam problem of", "it is no exam problem"),
            Column("number", "integer", "number of the TP, or of the item within its use, from 1"),
            Column("text", "text", "the problem"),
            Column("answer", "text", "gold answer"),
            Column("form", "text", "number, latex, word, yes_no or code"),
            Column("solution", "text", "worked solution", "its source has none"),
            Column(
                "level", "text", "how hard its source says it is, such as Level 5 (MATH)", "its source says nothing"
            ),
            Column("subject", "text", "subject, such as Algebra (MATH)", "its source says nothing"),
            Column(
                "similarity",
                "number",
                "cosine similarity of a retrieved EP to its TP; of a TP, that of the nearest EP",
                "not retrieved (exam.maker)",
                "-1 to 1",
            ),
            Column("written_by", "text", "agent that wrote this EP (exam.maker: invented)", "no agent wrote it"),
            Column(
                "agreement",
                "number",
                "how many of the writer's answers agree on `answer`",
                "no agent wrote it",
                "share, 0 to 1",
            ),
        ),
    ),
    "rationales": TableOf(
        "text of a teacher that solves a problem: TRs, greedy answers, answers to held-out problems, repaired and "
        "rewritten TRs",
        (
            Column("request_id", "text", "id of the request; `tr` in other tables"),
            Column("tp", "text", "id of the problem"),
            Column("repeat", "integer", "number of the sample, from 0"),
            *PLACE,
            Column("teacher", "text", "name of the agent"),
            WEIGHTS,
            *COMPLETION,
            CORRECT,
            Column("exams_of", "text", "id of the TR with the same text whose exams are shared", "it has no exams"),
            Column("exam_answers", "integer", "number of EAs under it, of all students"),
            Column("exam_right", "integer", "how many of these are right"),
            Column("lbt_score", "number", "exam_right / exam_answers", "it has no exams", "share, 0 to 1"),
            Column("dropped", "boolean", "whether its exams ended early, since others did better", NO_HALVING),
            *RESULT,
            Column(
                "behaviour", "text", "digest of what a program does: equal for programs that do the same", NO_PROGRAM
            ),
            Column("s_score", "number", "hidden cases that a program passes", NO_HIDDEN, "share, 0 to 1"),
            FAILING,
            Column("repairs", "text", "id of the first TR whose program it repairs (stage repair)", "it is no repair"),
        ),
        NO_TP,
    ),
    "exams": TableOf(
        "exam answer (EA), failed ones included, each repair of one (stage exam_repair), each answer of a student to a "
        "TP without a TR (stage alone), and each answer of a writer to its candidate for an EP (stage agree)",
        (
            Column("request_id", "text", "id of the request"),
            Column("tp", "text", "id of the TP", "level 3 with exemplar sets"),
            Column("tr", "text", "id of the TR, or key of the exemplar set, that the student read", NO_TR),
            Column("ep", "text", "id of the exam problem; of the TP (stage alone); of the candidate (stage agree)"),
            Column("repeat", "integer", "number of the sample, from 0; identical students share the numbers"),
            Column("student", "text", "name of the agent; at level 3 and in stage agree also the teacher"),
            *PLACE,
            WEIGHTS,
            *COMPLETION,
            CORRECT._replace(null=NO_GRADE),
            *RESULT,
            FAILING,
        ),
    ),
    "grades": TableOf(
        "worked solution that a model read (`exam.score: logprob`, and drift at level 2)",
        (
            Column("request_id", "text", "id of the request"),
            Column("tp", "text", "id of the TP"),
            Column("tr", "text", "id of the TR that was read before", "none was read"),
            Column("ep", "text", "id of the exam problem", "drift: the teacher reads a text of its own"),
            Column("student", "text", "name of the agent"),
            *PLACE,
            WEIGHTS,
            Column("logprob", "number", "mean log-probability of the solution's tokens", FAILED, "nats per token"),
            *RESULT,
        ),
        "no solution was read",
    ),
    "students": TableOf(
        "student",
        (
            Column("student", "text", "name of the agent"),
            Column("model", "text", "model of the scenario", "the engine has none"),
            Column("engine", "text", "engine of the scenario"),
            Column("persona", "text", "its persona", "it has none"),
            Column(
                "exam_answers", "integer", "number of its EAs at all levels; the report counts those of the first level"
            ),
            Column("exam_right", "integer", "how many of these are right"),
            Column("accuracy", "number", "exam_right / exam_answers", "it has no EAs", "share, 0 to 1"),
            Column("failed", "integer", "requests of any kind that failed"),
            Column("prompt_tokens", "integer", "of all its requests", unit="tokens"),
            Column("cached_tokens", "integer", "those of them that a prefix cache held", unit="tokens"),
            Column("completion_tokens", "integer", "of all its requests", unit="tokens"),
            Column("seconds", "number", "time of its requests in the engine, added up", unit="s"),
        ),
    ),
    "trainings": TableOf(
        "training of a teacher: an arm of a round, with one training seed",
        (
            Column("round", "integer", "from 1"),
            Column("arm", "text", "m2, correctness, shuffled or dense"),
            Column("seed", "integer", "which of the arm's seeds, from 0"),
            Column("status", "text", "trained, training, failed or no pairs"),
            Column("weights", "text", "digest of the new weights", "there are none"),
            Column("failed", "text", "kind of the failure", "it did not fail"),
            Column("pairs", "integer", "preference pairs that it was trained on", unit="pairs"),
            Column("available", "integer", "pairs by the rule, before all arms were cut to equally many", unit="pairs"),
            Column("mean_gap", "number", "mean difference of the final scores of a pair", "there are no pairs"),
            Column("steps", "integer", "steps of the optimizer", "it is not trained"),
            Column("loss", "number", "loss of the last step", "it is not trained, or it diverged"),
            Column("reward_margin", "number", "reward margin of the last step", "its method has none"),
            Column("reward_accuracy", "number", "share of chosen answers preferred, last step", "its method has none"),
            Column("seconds", "number", "duration of the training", "it is not trained", "s"),
            Column("greedy", "number", "right greedy answers to held-out problems", "not measured", "share, 0 to 1"),
            Column("sampled", "number", "pass@1 on held-out problems", "not measured", "share, 0 to 1"),
            Column("lbt_score", "number", "LbT score of its new TRs", "not measured", "share, 0 to 1"),
            Column("drift", "number", "KL(teacher || original)", "not measured", "nats per token"),
        ),
        "no teacher is trained (level 2)",
    ),
    "rounds": TableOf(
        "round of level 2, and round of an arm and run of level 3",
        (
            Column("level", "integer", "2 or 3"),
            Column("arm", "text", "class, self, random or search", "level 2"),
            Column("run", "integer", "independent run, from 1", "level 2"),
            Column("round", "integer", "at level 2 from 1; at level 3 round 0 is the start"),
            Column("weights", "text", "the teacher's weights at its start", "its own weights, or level 3"),
            Column("greedy", "number", "that teacher's right greedy answers, held out", "level 3", "share, 0 to 1"),
            Column("sampled", "number", "that teacher's pass@1, held out", "level 3, or not measured", "share, 0 to 1"),
            Column(
                "lbt_score",
                "number",
                "LbT score of that teacher's new TRs",
                "level 3, or not measured",
                "share, 0 to 1",
            ),
            Column("best_set", "text", "key of the best set", "level 2, or no set was kept"),
            Column("f1_train", "number", "F1 of the best set, training items", "level 2, or no set", "0 to 1"),
            Column("f1_held_out", "number", "F1 of the best set, held-out items", "level 2, or not measured", "0 to 1"),
            Column("sets", "integer", "sets that were scored", "level 2"),
            Column("reflections", "integer", "reflections with a reason", "level 2"),
            Column("revisions", "integer", "sets that the teacher was asked for", "level 2"),
            Column("dropped", "integer", "those of them without a usable set", "level 2"),
        ),
        "there are rounds at levels 2 and 3 alone",
    ),
    "sets": TableOf(
        "exemplar set in a round in which it was scored (level 3)",
        (
            Column("arm", "text", "class, self, random or search"),
            Column("run", "integer", "independent run, from 1"),
            Column("round", "integer", "from 0, the start"),
            Column("key", "text", "key of the set; `tr` of its exams"),
            Column("origin", "text", "description, training or revision"),
            Column("f1_train", "number", "F1 of the teacher's own answers, training items", "it has none", "0 to 1"),
            Column("f1_held_out", "number", "the same, held-out items", "it was never the best set", "0 to 1"),
            Column("kept", "boolean", "whether the round kept it"),
        ),
        "there are exemplar sets at level 3 alone",
    ),
}


def markdown() -> str:
    """The part of docs/data.md that lists the columns."""
    parts = []
    for name, table in TABLES.items():
        absent = f" A class may have none: {table.absent}." if table.absent else ""
        rows = [
            f"| `{one.name}` | {one.kind} | {one.unit or '-'} | {one.meaning} | {one.null} |".replace("||", "\\|\\|")
            for one in table.columns
        ]
        head = "| column | type | unit | meaning | null when |\n|---|---|---|---|---|\n"
        parts.append(f"### `{name}`\n\nA row for each {table.row}.{absent}\n\n{head}" + "\n".join(rows) + "\n")
    return "\n".join(parts)


if __name__ == "__main__":
    sys.stdout.write(markdown())
