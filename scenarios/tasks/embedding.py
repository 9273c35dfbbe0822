"""Sentence embeddings of problems: unit vectors whose products are cosine similarities.

wordllama is a table of word vectors that its wheel contains. Its two files are read here and the package is not
imported: version 0.4.0 looks for its tokenizer in a folder that the wheel does not have, would fetch it instead, and
configures the logging of the whole process. Any other name is a model of sentence-transformers, which runs in a
process of its own, since the classroom's process does without torch.
"""

import importlib.util
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from broker.child_process import ROOT
from broker.environment import child_environment
from broker.errors import TaskError

if TYPE_CHECKING:
    import numpy as np

    Array = np.ndarray[Any, Any]

WORDLLAMA = "wordllama"
TOKENIZER = "tokenizers/l2_supercat_tokenizer_config.json"
WEIGHTS = "weights/l2_supercat_256.safetensors"
TABLE = "embedding.weight"
"""Name of the tensor: tokens x 256."""
KEY = ("exam", "embedding")


def check(name: str) -> None:
    """Check that what computes an embedding is installed; loads and fetches nothing.

    Raises:
        TaskError: it is not installed.
    """
    package, extra = (WORDLLAMA, "retrieval") if name == WORDLLAMA else ("sentence_transformers", "embeddings")
    if importlib.util.find_spec(package) is None:
        raise TaskError(
            f"needs the package {package.replace('_', '-')}, which is not installed: pip install -e '.[{extra}]'",
            key=KEY,
        )


def embed(name: str, texts: Sequence[str]) -> "Array":
    """The embeddings of some texts: texts x dimensions, each of length 1 (a text without any known word: 0).

    Args:
        name: `wordllama`, or a model of sentence-transformers: a hub id or a folder.
        texts: the texts.

    Raises:
        TaskError: the package is not installed, or the model cannot be loaded or run.
    """
    import numpy as np

    check(name)
    vectors = np.asarray(_of_words(texts) if name == WORDLLAMA else _of_sentences(name, texts), dtype=np.float64)
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    found: Array = vectors / np.where(lengths > 0, lengths, 1)
    return found


def _of_words(texts: Sequence[str]) -> "Array":
    """The mean of the vectors of each text's tokens."""
    import numpy as np
    from safetensors.numpy import load_file
    from tokenizers import Tokenizer

    spec = importlib.util.find_spec(WORDLLAMA)
    package = Path(((spec and spec.submodule_search_locations) or [""])[0])
    try:
        table = load_file(package / WEIGHTS)[TABLE]
        tokenizer = Tokenizer.from_file(str(package / TOKENIZER))
    except Exception as error:  # tokenizers raises nothing narrower
        raise TaskError(
            f"{WORDLLAMA}: {error}\nInstall the version that this project names: pip install -e '.[retrieval]'", key=KEY
        ) from error
    tokenizer.no_padding()
    tokenizer.no_truncation()
    vectors = np.zeros((len(texts), table.shape[1]))
    for row, encoded in enumerate(tokenizer.encode_batch(list(texts), add_special_tokens=False)):
        if encoded.ids:
            vectors[row] = table[encoded.ids].astype(np.float64).mean(axis=0)
    return vectors


def _of_sentences(name: str, texts: Sequence[str]) -> "Array":
    import numpy as np

    with tempfile.TemporaryDirectory() as folder:
        given, made = Path(folder, "texts.json"), Path(folder, "vectors.npy")
        given.write_bytes(msgspec.json.encode(list(texts)))
        done = subprocess.run(
            [sys.executable, "-m", "scenarios.tasks.embedding", name, str(given), str(made)],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            cwd=ROOT,  # as in scenarios/tasks/grading/verifier.py
            env=child_environment({}),
            check=False,
        )
        if done.returncode:
            why = (done.stderr.strip().splitlines() or [f"its process ended with {done.returncode}"])[-1]
            raise TaskError(
                f"{name}: cannot be used as an embedding: {why[:300]}\n"
                f"Name a model of sentence-transformers that is in reach, or {WORDLLAMA}.",
                key=KEY,
            )
        vectors: Array = np.load(made, allow_pickle=False)
        return vectors


def _main(name: str, given: str, made: str) -> None:
    """Embed the texts of one file into another."""
    import numpy as np

    model = importlib.import_module("sentence_transformers").SentenceTransformer(name, device="cpu")
    texts = msgspec.json.decode(Path(given).read_bytes(), type=list[str])
    np.save(made, model.encode(texts, convert_to_numpy=True, show_progress_bar=False), allow_pickle=False)


if __name__ == "__main__":
    _main(*sys.argv[1:])
