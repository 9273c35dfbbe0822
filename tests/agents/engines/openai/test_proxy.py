import pytest

pytest.importorskip("openai", reason="pip install -e '.[openai]'")

from agents.engines.base import EngineStartError
from agents.engines.openai.proxy import proxy_for
from tests.agents.engines.openai import openai_server as faults
from tests.agents.engines.openai.at_a_server import engine, one, refused_start
from tests.agents.engines.openai.openai_server import Server

VARIABLES = ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY")
FAR = "http://models.example/v1"


@pytest.fixture(autouse=True)
def no_proxies(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in VARIABLES:
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)


@pytest.mark.parametrize(
    ("variables", "base_url", "proxy"),
    [
        ({}, FAR, ""),
        ({"HTTP_PROXY": "http://p:3128"}, FAR, "http://p:3128"),
        ({"http_proxy": "p:3128"}, FAR, "http://p:3128"),
        ({"HTTP_PROXY": "http://p:3128"}, "https://models.example/v1", ""),
        ({"HTTPS_PROXY": "http://p:3128"}, "https://models.example/v1", "http://p:3128"),
        ({"ALL_PROXY": "http://a:1", "HTTP_PROXY": "http://p:3128"}, FAR, "http://p:3128"),
        ({"ALL_PROXY": "socks5://a:1", "HTTP_PROXY": "http://p:3128"}, FAR, "http://p:3128"),
        ({"ALL_PROXY": "http://a:1", "NO_PROXY": "models.example"}, FAR, ""),
        ({"ALL_PROXY": "socks5://a:1", "NO_PROXY": ".example,other"}, FAR, ""),
        ({"ALL_PROXY": "http://a:1", "NO_PROXY": "*"}, FAR, ""),
        ({"ALL_PROXY": "http://a:1", "NO_PROXY": "models.example:8000"}, "http://models.example:8000/v1", ""),
        ({"ALL_PROXY": "http://a:1", "NO_PROXY": "models.example:8000"}, FAR, "http://a:1"),
        ({"ALL_PROXY": "http://a:1"}, "http://0.0.0.0:8000/v1", ""),
        ({"ALL_PROXY": "http://a:1", "NO_PROXY": "10.0.0.0/8"}, "http://10.1.2.3:8000/v1", ""),
        ({"ALL_PROXY": "http://a:1", "NO_PROXY": "10.0.0.0/8"}, "http://11.1.2.3:8000/v1", "http://a:1"),
        ({"ALL_PROXY": "http://a:1"}, "http://localhost:8000/v1", ""),
        ({"HTTP_PROXY": "http://a:1"}, "http://127.4.5.6:8000/v1", ""),
        ({"ALL_PROXY": "socks4://a:1"}, "http://[::1]:8000/v1", ""),
    ],
)
def test_which_proxy_is_used(
    variables: dict[str, str], base_url: str, proxy: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert proxy_for(base_url) == proxy


@pytest.mark.parametrize("proxy", ["http://127.0.0.1:9", "socks5://127.0.0.1:9", "socks4://x", "nonsense"])
def test_calls_to_this_machine_go_through_no_proxy(server: Server, proxy: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in VARIABLES[:3]:
        monkeypatch.setenv(name, proxy)
    assert one(engine(server)).text == " 5\nAnswer: it"


def test_calls_go_through_the_proxy_and_the_log_says_so_without_its_password(
    server: Server, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    address = server.url.removeprefix("http://").removesuffix("/v1")
    monkeypatch.setenv("HTTP_PROXY", f"http://ann:secret@{address}")
    assert one(engine(server, base_url=FAR)).text == " 5\nAnswer: it"
    assert caplog.text.count(f"through the proxy http://{address}") == 1
    assert "secret" not in caplog.text


@pytest.mark.parametrize(
    ("proxy", "says"),
    [
        ("socks5://ann:secret@p:1080", "the proxy socks5://p:1080 needs the package socksio: pip install socksio"),
        ("socks4://ann:secret@p:1080", "the proxy socks4://p:1080 is of an unknown kind: change ALL_PROXY, or set"),
        ("http://ann:secret@p:port", "the proxy 'http://p:port' is no address: change ALL_PROXY"),
        ("http://ann:secret@", "the proxy 'http://' is no address"),
        ("http://p q:80", "the proxy 'http://p q:80' is no address"),
    ],
)  # fmt: skip
def test_a_proxy_that_cannot_be_used_is_told_in_a_line(
    server: Server, proxy: str, says: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    monkeypatch.setenv("ALL_PROXY", proxy)
    said = refused_start(engine(server, base_url=FAR))
    assert says in said and "NO_PROXY=models.example" in said
    assert "secret" not in said and "\n" not in said


def test_a_proxy_without_its_package_is_refused_before_a_call(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    monkeypatch.setenv("ALL_PROXY", "socks5h://p:1080")
    with pytest.raises(EngineStartError, match="socksio"):
        proxy_for(FAR)
    with faults.running() as server:
        assert "socksio" in refused_start(engine(server, base_url=FAR))
        assert not server.bodies
