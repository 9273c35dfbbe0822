"""Trained weights in a run's folder: found by digest, checked against the base they are for. Nothing is loaded here.

`weights/DIGEST/` is a LoRA adapter, or a complete model; for simulated agents it is a `simulated.json`. Whoever asks
names the digest, so what lies there must have it, and must fit the model that the agent holds: an engine that loads
weights for another model would answer all the same, and wrongly.
"""

import hashlib
import re
from pathlib import Path
from typing import Literal, NamedTuple

import msgspec

from agents.engines.base import EngineFailure
from agents.models import weights
from broker.errors import ModelError

SIMULATED = "simulated.json"
DIGEST = re.compile(r"[0-9a-f]{16,64}")
"""What comes over the wire becomes part of a path."""
LORA = re.compile(r"base_model\.model\.(?P<module>.+)\.lora_(?P<part>[AB])\.weight")
SAME = ("architectures", "num_attention_heads", "num_key_value_heads", "head_dim")
"""Entries of a model's configuration that its tensors' shapes do not tell."""

Shapes = dict[str, tuple[int, ...]]


class Simulated(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What there is of a simulated agent's trained weights."""

    gain: float
    """Logits that its ability gains."""
    base: str
    """Digest of the weights that gain them."""
    key: str = ""
    """Digest of what it was trained with: two trainings have two digests, equal gains or not."""


class _AdapterConfig(msgspec.Struct, frozen=True):
    """The entries of a peft adapter's configuration that decide what it does."""

    r: int
    lora_alpha: float
    peft_type: Literal["LORA"]
    bias: Literal["none"] = "none"
    use_dora: bool = False
    use_rslora: bool = False
    lora_bias: bool = False
    fan_in_fan_out: bool = False
    rank_pattern: dict[str, int] | None = None
    alpha_pattern: dict[str, float] | None = None

    @property
    def plain(self) -> bool:
        """Whether it is what `Adapter` says, and nothing more."""
        variants = (self.use_dora, self.use_rslora, self.lora_bias, self.fan_in_fan_out)
        return not any((*variants, self.rank_pattern, self.alpha_pattern))


class Adapter(NamedTuple):
    """A LoRA adapter: module M computes M(x) + scale x B(A(x))."""

    file: Path
    scale: float
    modules: tuple[str, ...]
    """Names, as in the base model; the tensors are A [rank, in] and B [out, rank]."""


def find(run_weights: str, digest: str, base: str) -> Path:
    """The folder of the weights with that digest. Reads all of them, where that was not done before.

    Args:
        run_weights: the run's folder of weights; empty: it has none.
        digest: theirs.
        base: digest of the weights that the agent was born with.

    Raises:
        EngineFailure: `unsupported`: there are none, or they are another's.
    """
    folder = Path(run_weights) / digest
    if not run_weights or not DIGEST.fullmatch(digest) or not folder.is_dir():
        raise _unsupported(f"it holds {base[:12]}, and the run has no weights {digest[:12]}")
    try:
        of, found = (
            (simulated(folder).base if _is_simulated(folder) else weights.adapter_base(folder)),
            digest_of(folder),
        )
    except (ModelError, OSError) as error:
        raise _unsupported(f"{digest[:12]} are no weights: {_one_line(error)}") from error
    if of not in ("", base):
        raise _unsupported(f"the weights {digest[:12]} were trained of {of[:12]}, and it holds {base[:12]}")
    if found != digest:
        changed = f"the weights {digest[:12]} were changed: they are {found[:12]} now"
        raise _unsupported(f"{changed}; put back what was in {folder.parent.name}/{digest}")
    return folder


def digest_of(folder: Path) -> str:
    """SHA-256 of all that decides what trained weights say.

    Raises:
        ModelError: it holds no weights.
    """
    if _is_simulated(folder):
        return hashlib.sha256((folder / SIMULATED).read_bytes()).hexdigest()
    return weights.digest_of(folder, lambda label, done, total: None)


def simulated(folder: Path) -> Simulated:
    """The trained weights of a simulated agent.

    Raises:
        ModelError: there are none.
    """
    try:
        return msgspec.json.decode((folder / SIMULATED).read_bytes(), type=Simulated)
    except (OSError, msgspec.DecodeError) as error:
        raise ModelError(f"{folder / SIMULATED}: {error}") from error


def keep(weights_: Simulated, run_weights: Path) -> str:
    """Put trained weights of a simulated agent into the run's folder of weights; returns their digest."""
    content = msgspec.json.encode(weights_)
    name = hashlib.sha256(content).hexdigest()
    folder = run_weights / name
    folder.mkdir(parents=True, exist_ok=True)
    partial = folder / f".{SIMULATED}"
    partial.write_bytes(content)
    partial.replace(folder / SIMULATED)
    return name


def adapter(folder: Path, base: Path) -> Adapter | None:
    """The adapter of the folder, or None: it holds complete weights. Checked against the base model's folder.

    Raises:
        EngineFailure: `unsupported`: it is for a model of other shapes, or of a kind that is not known here.
    """
    try:
        if weights.adapter_base(folder):
            return _adapter(folder, _shapes(base))
        _check_complete(folder, base)
    except (ModelError, OSError, msgspec.DecodeError) as error:
        raise _unsupported(f"the weights {folder.name[:12]} do not fit: {_one_line(error)}") from error
    return None


def _adapter(folder: Path, base: Shapes) -> Adapter:
    config = msgspec.json.decode((folder / weights.ADAPTER[0]).read_bytes(), type=_AdapterConfig)
    if not config.plain:
        raise ModelError(f"{weights.ADAPTER[0]} asks for a variant of LoRA that is not known here")
    file = folder / weights.ADAPTER[1]
    parts: dict[str, Shapes] = {}
    for name, shape in _header(file).items():
        if not (match := LORA.fullmatch(name)):
            raise ModelError(f"{name} is no part of a LoRA adapter")
        parts.setdefault(match["module"], {})[match["part"]] = shape
    for module, shapes in parts.items():
        out_in = base.get(f"{module}.weight", ())
        if len(out_in) != 2 or shapes != {"A": (config.r, out_in[1]), "B": (out_in[0], config.r)}:
            raise ModelError(f"{module} has other shapes in the base model, or is not there")
    return Adapter(file, config.lora_alpha / config.r, tuple(parts))


def _check_complete(folder: Path, base: Path) -> None:
    ours, theirs = _shapes(base), _shapes(folder)
    # Some write the output layer where it is the same as the input's, and some do not.
    for name in (ours.keys() ^ theirs.keys()) - {"lm_head.weight"}:
        raise ModelError(f"the tensor {name} is in one of the models and not in the other")
    for name in ours.keys() & theirs.keys():
        if ours[name] != theirs[name]:
            raise ModelError(f"the tensor {name} has the shape {theirs[name]}, in the base model {ours[name]}")
    configs = [
        msgspec.json.decode((where / "config.json").read_bytes(), type=dict[str, object]) for where in (base, folder)
    ]
    for entry in SAME:
        if len({repr(config.get(entry)) for config in configs}) > 1:
            raise ModelError(f"config.json has another {entry}")


def _shapes(folder: Path) -> Shapes:
    return {name: shape for file in weights.weights_of(folder) for name, shape in _header(folder / file).items()}


def _header(file: Path) -> Shapes:
    """Names and shapes in a safetensors file: eight bytes of length, then JSON."""
    with file.open("rb") as opened:
        length = int.from_bytes(opened.read(8), "little")
        if length > file.stat().st_size:
            raise ModelError(f"{file.name} is no safetensors file, or cut off")
        told = msgspec.json.decode(opened.read(length), type=dict[str, dict[str, object]])
    return {
        name: msgspec.convert(entry["shape"], tuple[int, ...])
        for name, entry in told.items()
        if name != "__metadata__" and "shape" in entry
    }


def is_complete(folder: Path) -> bool:
    """Whether it holds a whole model, and not what is added to one."""
    return not _is_simulated(folder) and not weights.adapter_base(folder)


def _is_simulated(folder: Path) -> bool:
    return (folder / SIMULATED).is_file()


def _unsupported(why: str) -> EngineFailure:
    return EngineFailure("unsupported", why)


def _one_line(error: Exception) -> str:
    return str(error).splitlines()[0]
