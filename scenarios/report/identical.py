"""Says which students of a class are identical, so that their figures differ by chance alone."""

from scenarios.report.formatting import listed
from scenarios.report.summary import Summary


def identical_students(summary: Summary) -> list[str]:
    """A sentence for each group; one for all of them in a class whose students are not all analysed."""
    groups = summary.identical_students
    alike = "identical (same model, persona and settings): only chance makes their figures differ."
    if groups and summary.students_analysed:
        among = f"In {len(groups)} groups, {sum(map(len, groups)):,} students are" if len(groups) > 1 else (
            f"{len(groups[0]):,} students are"
        )  # fmt: skip
        return [f"{among} {alike}"]
    return [f"{listed(names)} are {alike}" for names in groups]
