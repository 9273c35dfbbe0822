"""Engine arguments are checked before an engine is there."""

from pathlib import Path

import pytest

from agents.engines import arguments
from agents.engines.base import EngineStartError


def test_the_names_of_vllms_arguments_come_from_its_source(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    engine = tmp_path / "vllm" / "engine"
    engine.mkdir(parents=True)
    (tmp_path / "vllm" / "__init__.py").write_text("raise AssertionError('imported')\n")
    (engine / "arg_utils.py").write_text(
        "class EngineArgs:\n    max_num_seqs: int = 1\n    block_size: int = 16\nclass Other:\n    model_x: int = 1\n"
        "class AsyncEngineArgs(EngineArgs):\n    enable_log_requests: bool = False\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    assert arguments.vllm_arguments() == {"max_num_seqs", "block_size", "enable_log_requests"}
    arguments.check_vllm({"max_num_seqs": 4})
    with pytest.raises(EngineStartError) as caught:
        arguments.check_vllm({"max_num_seq": 4})
    assert str(caught.value) == "engine_args.max_num_seq: vLLM has no such argument; did you mean 'max_num_seqs'?"


@pytest.mark.parametrize(
    ("args", "says"),
    [
        ({"kv_cache_mb": -1}, "engine_args.kv_cache_mb: needs a whole number >= 0"),
        ({"kv_cache_mb": "many"}, "engine_args.kv_cache_mb: needs a whole number, has text"),
        ({"kv_cache": 1}, "engine_args.kv_cache: no such argument; did you mean 'kv_cache_mb'?"),
        ({"zebra": 1}, "engine_args.zebra: no such argument; it takes: prefix_cache_mb, kv_cache_mb"),
    ],
)
def test_a_wrong_argument_is_told_at_its_key(args: dict[str, object], says: str) -> None:
    with pytest.raises(EngineStartError) as caught:
        arguments.read(args, arguments.TransformersOptions)
    assert str(caught.value).startswith(says)
