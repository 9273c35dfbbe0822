"""The version of this program."""

from functools import cache

from broker.child_process import ROOT


@cache
def package_version() -> str:
    """The version of this program: of pyproject.toml beside it, or of the installed package."""
    project = ROOT / "pyproject.toml"
    if project.is_file():
        import tomllib

        return str(tomllib.loads(project.read_text())["project"]["version"])
    from importlib.metadata import version

    return version("lbt-classroom")
