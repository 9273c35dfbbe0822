"""Engine arguments that do not change any answer.

They are left out of the digest of the answerer (agents/spec.py), and a resumed class may change them
(scenarios/config/load.py).
"""

EXECUTION_ONLY = frozenset(
    {"answer_key", "tokens_per_second", "crash_after", "hang_after", "pause_while", "pause_after"}
    | {"prefix_cache_mb", "kv_cache_mb", "fixed_threads"}
    | {"gpu_memory_utilization", "kv_cache_memory_bytes", "max_num_seqs", "max_num_batched_tokens", "enforce_eager"}
    | {"enable_prefix_caching", "block_size", "tensor_parallel_size", "disable_log_stats"}
    | {"key_env", "allow_http", "max_parallel", "tokens_per_minute", "timeout_s", "retries"}
    | {"price_per_million_prompt", "price_per_million_completion", "budget", "ledger", "notes"}
)
"""They change when or whether an answer comes, and not its text."""
