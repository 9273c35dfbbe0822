"""Trained weights in a run's folder, found by digest and checked against their base. Loads nothing.

`weights/DIGEST/` holds a LoRA adapter, a complete model, or `simulated.json` for simulated agents. The contents must
have the requested digest and fit the agent's model: with weights of another model an engine would answer wrongly.
"""

import hashlib
import re
from pathlib import Path
from typing import Literal, NamedTuple

import msgspec
from safetensors import SafetensorError, safe_open

from agents.engines.base import EngineFailure
from agents.models import weights
from broker.errors import ModelError
from broker.files import write_atomically

SIMULATED = "simulated.json"
DIGEST = re.compile(r"[0-9a-f]{16,64}")
"""Checked because a digest from the wire becomes part of a path."""
LORA = re.compile(r"base_model\.model\.(?P<module>.+)\.lora_(?P<part>[AB])\.weight")
SAME = ("architectures", "num_attention_heads", "num_key_value_heads", "head_dim")
"""Entries of a model's configuration that do not follow from the shapes of its tensors."""

Shapes = dict[str, tuple[int, ...]]


class SimulatedWeights(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The trained weights of a simulated agent."""

    gain: float
    """Logits added to the ability."""
    base: str
    """Digest of the base weights."""
    key: str = ""
    """Digest of the training's input, so that two trainings with equal gains have different digests."""


class _AdapterConfig(msgspec.Struct, frozen=True):
    """The entries of a peft adapter's configuration that affect its output."""

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
        """Whether it is a plain `Adapter`, not a variant of LoRA."""
        variants = (self.use_dora, self.use_rslora, self.lora_bias, self.fan_in_fan_out)
        return not any((*variants, self.rank_pattern, self.alpha_pattern))


class Adapter(NamedTuple):
    """A LoRA adapter: module M computes M(x) + scale x B(A(x))."""

    file: Path
    scale: float
    modules: tuple[str, ...]
    """Names of modules in the base model; the tensors are A [rank, in] and B [out, rank]."""


def find(run_weights: str, digest: str, base: str) -> Path:
    """Return the folder of the weights with a digest; hash their files if they have changed.

    Args:
        run_weights: the run's folder of weights; empty: there is none.
        digest: digest of the weights.
        base: digest of the agent's base weights.

    Raises:
        EngineFailure: `unsupported`: there are no such weights, or they have another base.
    """
    folder = Path(run_weights) / digest
    if not run_weights or not DIGEST.fullmatch(digest) or not folder.is_dir():
        raise _unsupported(f"it holds {base[:12]}, and the run has no weights {digest[:12]}")
    try:
        of, found = (
            (read_simulated(folder).base if _is_simulated(folder) else weights.adapter_base(folder)),
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
    """Return the SHA-256 of all files that affect the answers.

    Raises:
        ModelError: the folder holds no weights.
    """
    if _is_simulated(folder):
        return hashlib.sha256((folder / SIMULATED).read_bytes()).hexdigest()
    return weights.digest_of(folder)


def read_simulated(folder: Path) -> SimulatedWeights:
    """Read the trained weights of a simulated agent.

    Raises:
        ModelError: there are none.
    """
    try:
        return msgspec.json.decode((folder / SIMULATED).read_bytes(), type=SimulatedWeights)
    except (OSError, msgspec.DecodeError) as error:
        raise ModelError(f"{folder / SIMULATED}: {error}") from error


def save_simulated(weights_: SimulatedWeights, run_weights: Path) -> str:
    """Save trained weights of a simulated agent in the run's folder of weights; return their digest."""
    content = msgspec.json.encode(weights_)
    name = hashlib.sha256(content).hexdigest()
    folder = run_weights / name
    folder.mkdir(parents=True, exist_ok=True)
    write_atomically(folder / SIMULATED, content, sync=False)
    return name


def read_adapter(folder: Path, base: Path) -> Adapter | None:
    """Return the adapter of a folder, or None if it holds complete weights; check both against the base model.

    Raises:
        EngineFailure: `unsupported`: the shapes differ from the base model, or the kind of adapter is unknown.
    """
    try:
        if weights.adapter_base(folder):
            return _adapter(folder, tensor_shapes(base))
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
    for name, shape in _shapes_in(file).items():
        if not (match := LORA.fullmatch(name)):
            raise ModelError(f"{name} is not part of a LoRA adapter")
        parts.setdefault(match["module"], {})[match["part"]] = shape
    for module, part_shapes in parts.items():
        out_in = base.get(f"{module}.weight", ())
        if len(out_in) != 2 or part_shapes != {"A": (config.r, out_in[1]), "B": (out_in[0], config.r)}:
            raise ModelError(f"{module} has other shapes in the base model, or is not there")
    return Adapter(file, config.lora_alpha / config.r, tuple(parts))


def _check_complete(folder: Path, base: Path) -> None:
    ours, theirs = tensor_shapes(base), tensor_shapes(folder)
    # Some programs write an output layer that equals the input layer, and some do not.
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


def tensor_shapes(folder: Path) -> Shapes:
    """Return the shapes of a model's tensors, by name."""
    return {name: shape for file in weights.weights_of(folder) for name, shape in _shapes_in(folder / file).items()}


def _shapes_in(file: Path) -> Shapes:
    """Read the names and shapes of the tensors in a safetensors file."""
    try:
        with safe_open(file, "numpy") as opened:
            return {name: tuple(opened.get_slice(name).get_shape()) for name in opened.keys()}  # noqa: SIM118  (no mapping)
    except SafetensorError as error:
        raise ModelError(f"{file.name} is not a safetensors file, or is cut off: {error}") from error


def is_complete(folder: Path) -> bool:
    """Whether a folder holds a complete model."""
    return not _is_simulated(folder) and not weights.adapter_base(folder)


def _is_simulated(folder: Path) -> bool:
    return (folder / SIMULATED).is_file()


def _unsupported(why: str) -> EngineFailure:
    return EngineFailure("unsupported", why)


def _one_line(error: Exception) -> str:
    return str(error).splitlines()[0]
