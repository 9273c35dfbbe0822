"""Writes report.html of a run. Whatever goes wrong with the page, the class and summary.json stay as they are."""

from scenarios.config.schema import Scenario
from scenarios.session.run_dir import Rebuilt, RunFolder
from scenarios.store.sqlite import Store
from scenarios.tasks.grading.answers import ClassGrader


def write_run_page(folder: RunFolder, scenario: Scenario, rebuilt: Rebuilt) -> str:
    """Write report.html; an older one stays where that fails.

    Returns:
        Why it is not written and what to do, as a sentence; empty: it is written.
    """
    try:
        from scenarios.report.page import write

        with Store(folder.path) as store, ClassGrader() as grader:
            if (bank := store.bank()) is not None:
                write.write_class_page(
                    folder.path,
                    scenario,
                    rebuilt.summary,
                    rebuilt.outcome,
                    bank.with_exams(rebuilt.outcome.invented),
                    store,
                    grader.same,
                    rebuilt.asked,
                    shown=str(folder),
                )
        return ""
    except ImportError as error:
        why = f"the package {error.name} is not installed: pip install -e ."
    except Exception as error:  # a mistake in the page must not hide a finished class
        why = f"{folder.log_failure(error)} (the details are in {folder}/logs/run.log)"
    return f"report.html is not written: {why}\nsummary.json is. Later: python run.py report {folder}"
