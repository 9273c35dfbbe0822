"""A model's folder: whether it may be loaded, its size, and its digest. Loads no weights."""

import contextlib
import hashlib
import json
import math
import os
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TypeVar

import msgspec

from broker.errors import ModelError
from broker.files import changeable, if_writable, write_atomically

Progress = Callable[[str, int, int], None]
"""Called with a label, the bytes done, and the total bytes (0: unknown)."""


def no_progress(label: str, done: int, total: int) -> None:
    """Ignore progress."""


SETTINGS = (
    "config.json", "generation_config.json", "model.safetensors.index.json",
    "tokenizer.json", "tokenizer_config.json", "tokenizer.model", "special_tokens_map.json", "added_tokens.json",
    "vocab.json", "vocab.txt", "merges.txt", "tekken.json", "chat_template.json", "chat_template.jinja",
)  # fmt: skip
"""Files beside the weights that engines read of most models; all of them affect the answers."""
ALSO_READ = re.compile(r"(?!\.).+\.(json|jinja|model|spm|bpe|tiktoken|tokenizer)|dict\.txt|tokenizer\.model\..+")
"""Files that engines may read of other models: vocabularies and configurations under other names, ..."""
NOT_READ = re.compile(
    r"conversion\.json|trainer_state\.json|(.+_)?results\.json|(video_pre|pre|)processor_config\.json"
    r"|(?!model\.safetensors).+\.index\.json"
)
"""... except files for trainings, images and other formats."""
TEMPLATES = "additional_chat_templates"
SHARD = re.compile(r"\w[\w.-]*\.safetensors")
REDIRECTIONS = (
    ("config.json", "transformers_weights"), ("config.json", "configuration_files"),
    ("tokenizer_config.json", "fast_tokenizer_files"),
)  # fmt: skip
"""Entries that make transformers read other files, perhaps of other folders."""

BYTES = {"bfloat16": 2, "float16": 2, "float32": 4}
"""Bytes of one number, by dtype."""
TOKEN_VALUES = 0.09
"""Upper limit of the keys and values of one token, per parameter to the power of 2/3: it is 0.074 in Llama 2 7B, whose
heads share none, 0.081 in Qwen3 0.6B, 0.044 in SmolLM2 135M, 0.016 in Llama 3.1 8B, 0.010 in Qwen2.5 0.5B."""
PICKLED = frozenset({".bin", ".pt", ".pth", ".ckpt", ".pkl", ".pickle"})
TOKENIZERS = ("tokenizer.json", "tokenizer.model", "vocab.json", "vocab.txt", "tekken.json")

ADAPTER = ("adapter_config.json", "adapter_model.safetensors", "base.json")
"""The files of an adapter; the last one names its base weights."""

LONGEST_JSON = 64 << 20
"""Most bytes of a JSON file; the longest index has about ten thousand lines."""
MOST = 1 << 32
"""Larger than any length or number of a model."""

_Kind = TypeVar("_Kind")
_State = dict[str, tuple[int, int, int, int]]
"""Bytes, mtime and ctime in ns, and inode of each file. Programs cannot set a ctime."""


class _Hashed(msgspec.Struct, frozen=True):
    """A folder's digest, and the state of its files at that time."""

    files: _State
    digest: str


def cache_folder() -> Path:
    """Return the folder for models and digests: $LBT_CACHE, else lbt-classroom in the user's cache folder.

    Raises:
        ModelError: the user has no home folder and no variable names another, or other users could change the folder.
    """
    user = os.environ.get("XDG_CACHE_HOME", "")
    # By its specification, a relative path is ignored.
    user = user if os.path.isabs(user) else "~/.cache"
    name = os.path.expanduser(os.environ.get("LBT_CACHE") or os.path.join(user, "lbt-classroom"))
    if name.startswith("~"):
        raise ModelError(f"no folder for models: {name} needs a home folder, and this user has none\nset LBT_CACHE")
    folder = Path(name).absolute()
    for path in _its_files(folder) if folder.is_dir() else ():
        with contextlib.suppress(FileNotFoundError):  # another process changes the folder
            if why := changeable(path, sticky=path == folder.parent):
                close = f"chmod go-w {path}" if path == folder.parent else f"chmod 700 {folder}"
                raise ModelError(
                    f"{path}: {why}, so models in the cache could be exchanged\n"
                    f"close it with `{close}`, or let LBT_CACHE name a folder of your own"
                )
    return folder


def _its_files(cache: Path) -> Iterator[Path]:
    """Yield the parent of the cache, the cache, and all its files if others may enter it."""
    yield from (cache.parent, cache)
    if cache.stat().st_mode & 0o077:
        for path, folders, names in os.walk(cache):  # which passes over folders that vanish meanwhile
            yield from (Path(path, name) for name in (*folders, *names))


def cache_part(*names: str) -> Path:
    """Create and return a folder within the cache; only this user may enter a new cache.

    Raises:
        ModelError: see `cache_folder`.
        OSError: it cannot be created.
    """
    cache = cache_folder()
    cache.mkdir(mode=0o700, parents=True, exist_ok=True)
    part = cache.joinpath(*names)
    part.mkdir(parents=True, exist_ok=True)
    return part


def weights_of(folder: Path) -> tuple[str, ...]:
    """Return the names of the weight files.

    Raises:
        ModelError: no engine may load the folder.
    """
    index = folder / "model.safetensors.index.json"
    if index.is_file():
        names = tuple(sorted(set(_read(index, _Index).weight_map.values())))
        for name in (name for name in names if not SHARD.fullmatch(name)):
            raise ModelError(f"{index}: {name[:80]!r} is not a *.safetensors of this folder{hint(Path(name))}")
    elif (folder / "model.safetensors").is_file():
        names = ("model.safetensors",)
    else:
        raise ModelError(f"{folder}: no model.safetensors in it.{hint(*folder.glob('*'))}")
    for missing in (file for file in (*names, "config.json") if not (folder / file).is_file()):
        raise ModelError(f"{folder}: {missing} is missing")
    if not any((folder / file).is_file() for file in TOKENIZERS):
        raise ModelError(f"{folder}: no tokenizer in it (such as tokenizer.json)")
    if (folder / ADAPTER[0]).exists():
        raise ModelError(
            f"{folder}: holds {ADAPTER[0]} beside a whole model, which engines would merge or not\n"
            "take the adapter out, or merge it into the weights"
        )
    for name, entry in REDIRECTIONS:
        if _json(folder / name).get(entry):
            raise ModelError(f"{folder / name}: {entry} names other files to read; take it out")
    return names


class _Index(msgspec.Struct):
    weight_map: dict[str, str]


def hint(*files: Path) -> str:
    """Return what to do with weights of another format."""
    if any(file.suffix == ".gguf" for file in files):
        return "\n`python -m agents.models.convert FILE.gguf FOLDER` makes such a folder from a GGUF file."
    if pickled := sorted(file.name for file in files if file.suffix in PICKLED):
        return f"\n{pickled[0]} is pickled: refused, for it can run code when it is loaded. Save it as safetensors."
    return ""


def weights_mb(folder: Path) -> int:
    """Return the megabytes of weights on the disk."""
    return math.ceil(sum((folder / name).stat().st_size for name in weights_of(folder)) / 1e6)


def context_of(folder: Path) -> int:
    """Return the model's context in tokens; 0 if its configuration does not say."""
    length = _config(folder).get("max_position_embeddings")
    return length if type(length) is int and 0 < length < MOST else 0


class Shape(msgspec.Struct, frozen=True):
    """The numbers of a model that decide its memory. 0: its configuration does not say."""

    weight_bytes: int = 0
    """Bytes of one weight on the disk; 0 also for quantized weights, which stay unchanged in memory."""
    token_values: int = 0
    """Number of keys and values of one token."""
    tied_values: int = 0
    """Size of the embedding if it is also the last layer."""
    untied_values: int = 0
    """Size of the embedding if it is not."""
    heads: int = 0
    """Number of attention heads, which several GPUs divide among them."""


def shape_of(folder: Path) -> Shape:
    """Return the shape of the model in a folder."""
    config = _config(folder)
    whole = {name: value for name, value in config.items() if type(value) is int and 0 <= value < MOST}
    heads, hidden = whole.get("num_attention_heads", 0), whole.get("hidden_size", 0)
    dim = whole.get("head_dim") or (hidden // heads if heads else 0)
    dtype = str(config.get("dtype") or config.get("torch_dtype"))
    embedding = whole.get("vocab_size", 0) * hidden
    return Shape(
        weight_bytes=0 if "quantization_config" in config else BYTES.get(dtype, 0),
        token_values=2 * whole.get("num_hidden_layers", 0) * whole.get("num_key_value_heads", heads) * dim,
        tied_values=embedding if config.get("tie_word_embeddings") else 0,
        untied_values=0 if config.get("tie_word_embeddings") else embedding,
        heads=heads,
    )


def guessed_shape(size_mb: int) -> Shape:
    """Estimate the shape of a model from its size in bfloat16, with keys and values at their upper limit.

    A decoder has about 12 * layers * hidden^2 parameters and, if no heads share keys, 2 * layers * hidden keys and
    values per token, so these grow with the parameters to the power of 2/3.
    """
    return Shape(weight_bytes=2, token_values=int(TOKEN_VALUES * (size_mb * 1e6 / 2) ** (2 / 3)))


def _config(folder: Path) -> dict[str, object]:
    """Return the model's configuration, for a multimodal model merged with that of its language model."""
    config = _json(folder / "config.json")
    text = config.get("text_config")
    return {**text, **config} if isinstance(text, dict) else config


def _json(file: Path) -> dict[str, object]:
    """Read a JSON object; empty if the file is missing."""
    return _read(file, dict[str, object]) if file.exists() else {}


def _read(file: Path, cls: type[_Kind]) -> _Kind:
    """Read a JSON file of a model.

    Raises:
        ModelError: it is not a `cls`, or too large.
    """
    with file.open("rb") as opened:
        data = opened.read(LONGEST_JSON + 1)
    if len(data) > LONGEST_JSON:
        raise ModelError(f"{file}: larger than {LONGEST_JSON >> 20} MB")
    try:
        # Like transformers, accept NaN and Infinity.
        return msgspec.convert(json.loads(data), cls)
    except (ValueError, RecursionError) as error:
        raise ModelError(f"{file}: {error}") from error


class _Base(msgspec.Struct, frozen=True):
    base: str


def adapter_base(folder: Path) -> str:
    """Return the digest of an adapter's base weights; empty if the folder is no adapter.

    Raises:
        ModelError: the adapter is incomplete.
    """
    if not (folder / ADAPTER[-1]).is_file():
        return ""
    for missing in (name for name in ADAPTER if not (folder / name).is_file()):
        raise ModelError(f"{folder}: {missing} is missing")
    return _read(folder / ADAPTER[-1], _Base).base


def _state(folder: Path) -> _State:
    """Return the files that a digest covers, with their state."""
    if adapter_base(folder):
        names = {*ADAPTER, *(name for name in SETTINGS if (folder / name).is_file())}
    else:
        names = {*weights_of(folder), *_settings(folder)}
    for odd in (name for name in names if not name.isprintable()):
        raise ModelError(f"{folder}: {odd!r} is not a valid name for a model's file; rename the file, or take it out")
    stats = {name: (folder / name).stat() for name in sorted(names)}
    return {name: (stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns, stat.st_ino) for name, stat in stats.items()}


def _settings(folder: Path) -> set[str]:
    """Return the files that an engine may read of a whole model beside the named weights."""
    # transformers prefers model.safetensors to an index; without an index vLLM reads every *.safetensors.
    more = ["model.safetensors"] if (folder / "model.safetensors.index.json").exists() else ["*.safetensors"]
    found = {path for pattern in (*more, f"{TEMPLATES}/*.jinja") for path in folder.glob(pattern)}
    found |= {path for path in folder.iterdir() if path.name in SETTINGS or _is_read(path.name)}
    return {str(path.relative_to(folder)) for path in found if path.is_file()}


def _is_read(name: str) -> bool:
    return bool(ALSO_READ.fullmatch(name)) and not NOT_READ.fullmatch(name)


def _digest_file(folder: Path) -> Path:
    return cache_folder() / "digests" / f"{hashlib.sha256(str(folder.resolve()).encode()).hexdigest()[:32]}.json"


def known_digest(folder: Path) -> str | None:
    """Return the remembered digest if no file has changed since."""
    try:
        hashed = msgspec.json.decode(_digest_file(folder).read_bytes(), type=_Hashed)
    except (OSError, msgspec.DecodeError):
        return None
    return hashed.digest if hashed.files == _state(folder) else None


def digest_of(folder: Path, progress: Progress = no_progress) -> str:
    """Return the SHA-256 over names and contents of all files that engines read; rehash only changed folders."""
    if cached := known_digest(folder):
        return cached
    state = _state(folder)
    digest = _sha256(folder, state, progress)
    with if_writable():  # in a cache that belongs to root, folders are hashed each time
        target = cache_part("digests") / _digest_file(folder).name
        write_atomically(target, msgspec.json.encode(_Hashed(state, digest)), sync=False)
    return digest


def fresh_digest(folder: Path) -> str:
    """Return the digest without the memory of earlier digests."""
    return _sha256(folder, _state(folder), no_progress)


def _sha256(folder: Path, state: _State, progress: Progress) -> str:
    whole, done, total = hashlib.sha256(), 0, sum(size for size, *_ in state.values())
    for name, (size, *_) in state.items():
        whole.update(f"{name}\0{size}\0".encode())
        with (folder / name).open("rb") as file:
            while block := file.read(1 << 22):
                whole.update(block)
                done += len(block)
                progress(f"{folder.name}: checking", done, total)
    return whole.hexdigest()
