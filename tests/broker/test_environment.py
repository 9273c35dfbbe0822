import os

import pytest

from broker.environment import child_environment, is_secret

SECRETS = """
    OPENAI_API_KEY OPENAI_ORG_ID OPENAI_CUSTOM_HEADERS ANTHROPIC_API_KEY GROQ_KEY MYKEY KEY API_KEY_2 GEMINI_API_KEYS
    HF_TOKEN HUGGING_FACE_HUB_TOKEN GITHUB_TOKEN GH_PAT WANDB_API_KEY AWS_ACCESS_KEY_ID AWS_SECRET_ACCESS_KEY
    AWS_SESSION_TOKEN AWS_PROFILE AZURE_CLIENT_SECRET GOOGLE_APPLICATION_CREDENTIALS DB_PASSWORD PGPASSWORD
    MYSQL_PWD SENTRY_DSN SSH_AUTH_SOCK DOCKER_AUTH my_secret_2 GPG_PASSPHRASE SLURM_JWT
"""
NEEDED = """
    PATH HOME PWD OLDPWD LANG TMPDIR CUDA_VISIBLE_DEVICES CUDA_HOME LD_LIBRARY_PATH LD_PRELOAD HF_HOME HF_ENDPOINT
    OMP_NUM_THREADS NCCL_SOCKET_IFNAME VLLM_CPU_OMP_THREADS_BIND TOKENIZERS_PARALLELISM PYTHONPATH VIRTUAL_ENV
    XDG_CACHE_HOME XAUTHORITY LBT_CACHE SSL_CERT_FILE HTTPS_PROXY https_proxy NO_PROXY SLURM_JOB_ID MAX_TOKENS
    KEYBOARD TERM
"""


@pytest.mark.parametrize("name", SECRETS.split())
def test_a_secret_is_known_by_its_name(name: str) -> None:
    assert is_secret(name)


@pytest.mark.parametrize("name", NEEDED.split())
def test_variables_that_programs_need_are_no_secrets(name: str) -> None:
    assert not is_secret(name, "/some/path")


def test_an_address_with_a_password_is_a_secret_unless_it_is_a_proxy() -> None:
    assert is_secret("DATABASE_URL", "postgres://me:word@host/db")
    assert not is_secret("DATABASE_URL", "postgres://host:5432/db")
    assert not is_secret("https_proxy", "http://me:word@proxy:3128")


def test_a_child_gets_the_environment_without_secrets_and_those_that_are_named(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(os, "environ", {"PATH": "/bin", "A_KEY": "a", "B_KEY": "b", "X": "1"})
    assert child_environment({"X": "2"}) == {"PATH": "/bin", "X": "2"}
    assert child_environment({}, ["B_KEY"]) == {"PATH": "/bin", "B_KEY": "b", "X": "1"}
