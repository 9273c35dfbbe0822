"""Models with random weights in the shapes of real ones, made on the spot, and prompts for them."""

import random
from pathlib import Path
from typing import Any

import torch
import transformers

from agents.engines.base import Prompt, Turn
from broker.work_messages import Sampling, Teach
from tests.agents.engines.local.test_engine import tokenizer
from tests.gpu.checks import Setting

CONTEXT = 8192
SHAPES: dict[str, dict[str, int]] = {
    "tiny": {"hidden_size": 64, "intermediate_size": 96, "num_hidden_layers": 2, "num_attention_heads": 2},
    "0.5B": {"hidden_size": 896, "intermediate_size": 4864, "num_hidden_layers": 24, "num_attention_heads": 14},
    "1.5B": {"hidden_size": 1536, "intermediate_size": 8960, "num_hidden_layers": 28, "num_attention_heads": 12},
    "7B": {"hidden_size": 3584, "intermediate_size": 18944, "num_hidden_layers": 28, "num_attention_heads": 28},
}
"""Of Qwen2.5; key heads and vocabulary are below."""


def save(folder: Path, shape: str, device: str) -> int:
    """Put a model in bfloat16 and the tests' tokenizer into `folder`; return its parameters.

    It has more token ids than the tokenizer has tokens. It ends an answer so seldom that lengths are exact.
    """
    torch.manual_seed(3)
    letters = tokenizer()
    config = transformers.Qwen2Config(
        **SHAPES[shape],
        num_key_value_heads={"tiny": 1, "7B": 4}.get(shape, 2),
        vocab_size=len(letters) if shape == "tiny" else 151_936,
        tie_word_embeddings=shape != "7B",
        max_position_embeddings=CONTEXT,
        initializer_range=0.2 if shape == "tiny" else 0.02,
        bos_token_id=None,
        eos_token_id=letters.convert_tokens_to_ids("<|im_end|>"),
    )
    with torch.device(device):
        model = transformers.AutoModelForCausalLM.from_config(config, dtype=torch.bfloat16)
    model.save_pretrained(folder)
    letters.save_pretrained(folder)
    parameters: int = sum(each.numel() for each in model.parameters())
    del model
    torch.cuda.empty_cache()
    return parameters


def prompts(count: int, tokens: int, new: int, *, top_k: int = 20, seed: int = 0) -> list[Prompt]:
    """Return `count` different prompts of about `tokens` tokens (one for each letter), for `new` more tokens."""
    sampling = Sampling(temperature=1.0, top_k=top_k, max_tokens=new)
    draw = random.Random(f"{count} {tokens} {seed}")
    made = []
    for number in range(count):
        text = "".join(draw.choices("abcdefghijklmnopqrstuvwxyz ", k=max(1, tokens - 60)))
        made.append(
            Prompt(
                request_id=f"{seed}/{number}",
                turns=(Turn("system", "Be brief."), Turn("user", text)),
                begun="Solution:",
                sampling=sampling,
                seed=number,
                request=Teach(problem=text, answer_form="number", sampling=sampling),
            )
        )
    return made


def size(setting: Setting, on_gpu: Any, on_cpu: Any) -> Any:
    """Return the size of a workload: on a CPU everything is tiny."""
    return on_gpu if setting.cuda else on_cpu
