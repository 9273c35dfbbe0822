"""Load a model from a local folder: device, dtype, checks, and readable errors.

Fetches nothing, runs no code of the folder, and reads only safetensors.
"""

import contextlib
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

import torch
import transformers

from agents.engines import wrong_torch
from agents.engines.base import EngineSettings, EngineStartError, first_line
from agents.engines.chat import Chat
from agents.engines.local import model_checks as checks
from agents.engines.local.attention import ATTENTION
from agents.engines.local.batch import Batch, BatchRow
from agents.engines.local.int8 import quantize
from agents.engines.local.packing import pack
from agents.engines.local.slots import out_of_memory
from agents.placement.hardware import computes_in_bfloat16
from broker.work_messages import Sampling

CPU = torch.device("cpu")
LOCAL = {"local_files_only": True, "trust_remote_code": False}
PROBE = 8
"""Number of tokens on which slots are compared with the library's own attention."""
GPU_FAILURE = re.compile(
    r"(?i)CUDA error|CUDA driver|CUDA unknown error|CUDA-capable device|NVIDIA driver|NVML|NCCL error|GPU is lost|"
    r"ECC error"
)
REPAIR_GPU = "look at nvidia-smi, and at lines with Xid in dmesg; restart the machine, or give the agent another GPU"


def pick_device() -> torch.device:
    """Return the device of the agent's seat (LBT_DEVICE); without a seat, CUDA, else MPS, else the CPU.

    Raises:
        EngineStartError: torch cannot use the GPU of the seat.
    """
    seat = os.environ.get("LBT_DEVICE", "")
    if seat in ("", "cuda") and torch.cuda.is_available():
        return torch.device("cuda:0")
    if seat in ("", "mps") and torch.backends.mps.is_available():
        return torch.device("mps")
    if seat in ("cuda", "mps"):
        raise EngineStartError(no_gpu(seat))
    return torch.device("cpu")


def no_gpu(seat: str) -> str:
    """Return why torch cannot use the GPU of an agent, and what to do."""
    if seat == "mps":
        return f"this agent runs on the Apple GPU, and torch {torch.__version__} does not see it\ntake gpu: none"
    if not torch.version.cuda:
        return wrong_torch(torch.__version__)
    why = "it reports no such device"
    try:
        torch.cuda.init()  # type: ignore[no-untyped-call]
    except RuntimeError as error:
        why = first_line(error)
    return (
        f"this agent runs on a GPU, and torch {torch.__version__} cannot use it: {why}\n"
        "look at what nvidia-smi says, update or repair the driver, or give the agent gpu: none"
    )


def pick_dtype(device: torch.device) -> torch.dtype:
    """Return bfloat16 if the device computes in it, else float16 on a GPU and float32 on a CPU."""
    if device.type == "cuda":
        return torch.bfloat16 if torch.cuda.is_bf16_supported(including_emulation=False) else torch.float16
    if device.type == "mps":
        return torch.float16
    return torch.bfloat16 if computes_in_bfloat16() else torch.float32


def context_of(config: Any, limit: int) -> int:
    """Return the limit on tokens of prompt and completion: the model's own, or the lower `limit`.

    Slots attend to all tokens, so the window of a model with a sliding window is its limit.

    Raises:
        EngineStartError: `limit` exceeds the model's own.
    """
    window = getattr(config, "sliding_window", None) or config.max_position_embeddings
    own: int = min(config.max_position_embeddings, window)
    if limit > own:
        raise EngineStartError(f"max_context: {limit} tokens are more than this model takes ({own})\nlower max_context")
    return limit or own


@contextlib.contextmanager
def _naming(folder: Path) -> Iterator[None]:
    """Begin the text of an error with the model's folder."""
    try:
        yield
    except EngineStartError as error:
        raise EngineStartError(f"{folder}: {error}") from error


def chat_of(folder: Path | None) -> Chat:
    """Load the chat of the model in a folder, without its weights.

    Raises:
        EngineStartError: there is no such folder, or no complete chat model in it.
    """
    if folder is None or not folder.is_dir():
        raise EngineStartError(f"no model folder at {folder}")
    transformers.utils.logging.disable_progress_bar()
    with _naming(folder):
        checks.check_files(folder)
        config = _config(folder)
        try:
            tokenizer = transformers.AutoTokenizer.from_pretrained(folder, **LOCAL)
        except Exception as error:
            raise checks.tokenizer_error(error) from error
        try:
            ends = transformers.GenerationConfig.from_pretrained(folder, local_files_only=True).eos_token_id
        except OSError:
            ends = config.eos_token_id
        checks.check_tokens(tokenizer, ends, config.get_text_config().vocab_size)
        return Chat(tokenizer, ends)


def check_numbers(folder: Path | None) -> None:
    """Check that the weights in a folder's files are numbers; `load` checks the model that it loads.

    Raises:
        EngineStartError: a weight is NaN or infinite.
    """
    assert folder is not None  # noqa: S101  (`chat_of` refuses that)
    with _naming(folder):
        checks.check_numbers_in_files(folder)


def _config(folder: Path) -> Any:
    try:
        config = transformers.AutoConfig.from_pretrained(folder, **LOCAL)
    except ValueError as error:
        raise (checks.own_code("architecture") if checks.OWN_CODE in str(error) else error) from error
    checks.check_config(config)
    return config


def read_weights(folder: Path, dtype: torch.dtype | Literal["auto"], device: torch.device = CPU) -> Any:
    """Load the model of a folder, with all its weights from files; onto the CPU unless `device` is CUDA.

    `dtype`: `auto` leaves the weights as they are on the disk.

    Raises:
        EngineStartError: it is no text model, or weights are missing or have another shape.
        Exception: whatever else transformers raises.
    """
    with _naming(folder):
        config = _config(folder)
        checks.check_supported(config)
        try:
            model, found = transformers.AutoModelForCausalLM.from_pretrained(
                folder,
                dtype=dtype,
                # On CUDA straight to the device: several large models at once would not fit into the machine's memory.
                device_map={"": device} if device.type == "cuda" else None,
                use_safetensors=True,
                attn_implementation="sdpa",
                output_loading_info=True,
                ignore_mismatched_sizes=True,  # `check_loaded` refuses them by name
                **LOCAL,
            )
        except (ImportError, RuntimeError, ValueError) as error:
            if out_of_memory(error) or device_failed(str(error)) or not (method := checks.quantization_of(config)):
                raise
            raise EngineStartError(
                f"its weights are quantized ({method}) and cannot be read here: {first_line(error)}\n"
                "install what is missing, or take this model without quantization"
            ) from error
        checks.check_loaded(found, model)
        return model


def load(folder: Path | None, device: torch.device, dtype: torch.dtype, *, int8: bool = False) -> tuple[Chat, Any]:
    """Load chat and model of a folder; see `load_model`.

    Raises:
        EngineStartError: there is no complete model, or it does not compute correctly here.
    """
    chat = chat_of(folder)
    assert folder is not None  # noqa: S101  (`chat_of` refuses that)
    return chat, load_model(folder, device, dtype, int8=int8)


def load_model(folder: Path, device: torch.device, dtype: torch.dtype, *, int8: bool = False) -> Any:
    """Load the model of a folder, ready for a `Batch`.

    Args:
        folder: of the model.
        device: where it computes.
        dtype: in which it computes.
        int8: its linear layers hold and multiply their weights in int8.

    Raises:
        EngineStartError: weights are missing or broken, or the model does not compute correctly here.
    """
    if int8 and device.type != "cpu":
        raise EngineStartError(f"quantization: int8 is for CPUs, and this agent runs on {device}; take it out")
    if device.type == "cuda":
        # cuDNN makes a plan for each new shape of attention.
        torch.backends.cuda.enable_cudnn_sdp(False)
    # As on the disk they are mapped, so what becomes int8 is never in memory as a whole.
    model = read_weights(folder, "auto" if int8 else dtype, device).to(device).eval()
    with _naming(folder):
        if int8 and (method := checks.quantization_of(model.config)):
            raise EngineStartError(f"its weights are quantized already ({method}): take quantization: int8 out")
        checks.check_numbers(model)
        probe = probe_tokens(model.config.get_text_config().vocab_size)
        expected = model(input_ids=torch.tensor([probe], device=device), use_cache=False).logits[0, -1]
        if device.type == "cpu" and not int8:
            pack(model, dtype)
        model.set_attn_implementation(ATTENTION)
        check_slots(model, probe, expected)
        if int8:
            quantize(model, dtype)
        return model


def probe_tokens(vocabulary: int) -> list[int]:
    """Return `PROBE` token ids, evenly spread over a vocabulary of `vocabulary` tokens.

    The first ids of a vocabulary are control tokens, on which a model is hardly trained. After a text of such tokens
    the logits can depend on rounding alone: SmolLM2 in bfloat16 then disagrees with itself in float32.
    """
    return [(index + 1) * vocabulary // (PROBE + 1) for index in range(PROBE)]


def check_slots(model: Any, probe: list[int], expected: torch.Tensor) -> None:
    """Refuse a model for which attention over slots differs from the library's, by comparing logits.

    Args:
        model: the model with attention over slots.
        probe: token ids of a text.
        expected: the library's logits after the text.

    Raises:
        EngineStartError: the logits differ, or are not numbers.
    """
    if not expected.isfinite().all():
        raise EngineStartError("its weights are broken: what it computes is no number")
    batch = Batch(model, capacity=1, memory=0, prefix_memory=0)
    row = BatchRow(probe[:-3], Sampling(max_tokens=PROBE), seed=0)
    batch.join([row])
    batch.logits()
    row.tokens += probe[-3:-1]
    batch.logits()
    row.tokens.append(probe[-1])
    got, wanted = (logits.float() - logits.float().mean() for logits in (batch.logits()[0], expected))
    alike = torch.nn.functional.cosine_similarity(got, wanted, dim=0).item()
    # Rounding alone changes bfloat16 logits by some per mille.
    if not alike > (0.999 if expected.dtype == torch.float32 else 0.98):
        raise EngineStartError(
            f"the architecture {type(model).__name__} is not supported: its attention is of another kind, "
            "or its weights are broken"
        )


def explain(error: Exception, settings: EngineSettings) -> EngineStartError:
    """Return what went wrong while loading, and what to do."""
    if isinstance(error, EngineStartError):
        return error
    if out_of_memory(error):
        return EngineStartError(
            f"{settings.model}: out of memory while loading: {first_line(error)}\n"
            "lower dtype (bfloat16), the number of agents on this device, or take a smaller model"
        )
    if device_failed(str(error)):
        return EngineStartError(f"{settings.model}: {first_line(error)}\n{REPAIR_GPU}")
    if isinstance(error, ImportError):
        return EngineStartError(f"{settings.folder} cannot be loaded: {first_line(error)}\ninstall what is missing")
    if isinstance(error, ValueError | LookupError | TypeError | AttributeError | NotImplementedError):
        return EngineStartError(f"{settings.folder}: this architecture is not supported: {first_line(error)}")
    return EngineStartError(
        f"{settings.folder} cannot be loaded: {type(error).__name__}: {first_line(error)}\n"
        "fetch or convert the model again"
    )


def device_failed(text: str) -> bool:
    """Whether an error text blames the GPU, not the program: the GPU is lost or taken by another program."""
    return GPU_FAILURE.search(text) is not None
