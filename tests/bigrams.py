"""A real model of two layers that answers at once: it knows only which letter follows which, and guesses 1 to 3.

Attention and MLPs are random, and add nothing until they are trained. So whole classes of real engines and trainings
take seconds, and there are right and wrong rationales to choose from.
"""

import json
from pathlib import Path

import torch
import transformers

from tests.agents.engines.local.test_engine import tokenizer

SAID = "\\boxed{"
GUESSES = {"1": 12.0, "2": 11.8, "3": 11.6}
"""What is said after that, and its logit; other letters have 0."""


def model(folder: Path, layers: int = 2) -> Path:
    """Put it into `folder`: a complete model with a tokenizer."""
    torch.manual_seed(3)
    letters = tokenizer()
    width = 4 * -(-len(letters) // 8) * 2
    config = transformers.LlamaConfig(
        vocab_size=len(letters),
        hidden_size=width,
        intermediate_size=64,
        num_hidden_layers=layers,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=2048,
        bos_token_id=None,
        eos_token_id=letters.convert_tokens_to_ids("<|im_end|>"),
    )
    made = transformers.LlamaForCausalLM(config)
    follows = {one: {other: 12.0} for one, other in zip(":" + SAID[:-1], SAID, strict=True)}
    follows |= {SAID[-1]: GUESSES} | {guess: {"}": 12.0} for guess in GUESSES} | {"}": {"<|im_end|>": 12.0}}
    with torch.no_grad():
        made.model.embed_tokens.weight.copy_(torch.eye(len(letters), width))
        made.lm_head.weight.normal_(0.0, 0.02)
        for one, others in follows.items():
            for other, logit in others.items():
                row, column = letters.convert_tokens_to_ids([other, one])
                # The last norm makes of a letter's one its width's root.
                made.lm_head.weight[row, column] = logit / width**0.5
        for layer in made.model.layers:
            layer.self_attn.o_proj.weight.zero_()
            layer.mlp.down_proj.weight.zero_()
    made.save_pretrained(folder)
    letters.save_pretrained(folder)
    return folder


def scenario(folder: Path) -> Path:
    """A class of level 2 with this model as its teacher and a simulated student; in `folder`, the model beside it."""
    model(folder / "model")
    problems = [
        {"question": f"{n}: {a} + {b}?", "answer": str(a + b)} for n in range(6) for a, b in ((0, 1), (1, 1), (1, 2))
    ]
    (folder / "problems.jsonl").write_text("".join(json.dumps(each) + "\n" for each in problems))
    sampling = {"temperature": 1.0, "top_k": 0, "max_tokens": 16}
    told = {
        "name": "bigrams",
        "level": 2,
        "seed": 7,
        "task": {"file": str(folder / "problems.jsonl"), "problems": 3, "demonstrations": 0},
        "teacher": {"name": "teacher", "model": str(folder / "model"), "engine": "transformers"},
        "students": [{"name": "peer", "engine": "simulated"}],
        "lesson": {"rationales": 5, "sampling": sampling},
        "exam": {"problems": 2, "repeats": 2, "sampling": sampling},
        "learn": {"arms": ["m2"], "held_out": 2, "samples": 1, "rationales": 1, "gap": 0.1, "training": {"batch": 1}},
    }
    path = folder / "bigrams.yaml"
    path.write_text(json.dumps(told))
    return path
