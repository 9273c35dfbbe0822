"""An OpenAI-compatible server on loopback for tests: it answers arithmetic, and fails on purpose when told to."""

import json
import re
import threading
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Literal

WAIT_S = 1200
FRAME = 4
"""Prompt tokens around the text of every turn."""

Fault = Callable[["Handler"], None]


class Server:
    """What the server is and does; tests change it while it runs."""

    def __init__(self, port: int) -> None:
        self.url = f"http://127.0.0.1:{port}/v1"
        self.model = "small"
        self.key = ""
        self.refuses: dict[str, str] = {}
        """By parameter: the words of the refusal."""
        self.prefill: Literal["flags", "always", "ignored", "refused"] = "flags"
        """flags: goes on with a begun answer when told so; always: goes on untold."""
        self.begins_again = False
        """Where a begun answer is taken for a finished turn: say its beginning again."""
        self.counts = True
        self.in_one_piece = False
        self.system = True
        self.finish_reason = "stop"
        self.faults: deque[Fault] = deque()
        """One for each of the next calls."""
        self.fault: Fault | None = None
        """For every call."""
        self.before: Callable[[], None] = lambda: None
        """Run within every call, before the answer."""
        self.bodies: list[dict[str, Any]] = []
        self.keys: list[str] = []
        self.headers: list[dict[str, str]] = []
        self.release = threading.Event()
        """Ends what hangs."""
        self.hung_up = threading.Event()
        """The client closed a connection in the middle of an answer."""
        self.close: Callable[[], None] = lambda: None
        self._lock = threading.Lock()
        self._running = 0
        self.most_at_once = 0

    @contextmanager
    def counted(self) -> Iterator[None]:
        with self._lock:
            self._running += 1
            self.most_at_once = max(self.most_at_once, self._running)
        try:
            yield
        finally:
            with self._lock:
                self._running -= 1


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    told: Server

    def log_message(self, format: str, *args: Any) -> None:
        pass

    def do_GET(self) -> None:
        # As `transformers serve` does without a hub cache: nothing may depend on it.
        self.say(500, {"error": {"message": "no list of models"}})

    def do_POST(self) -> None:
        told = self.told
        body = json.loads(self.rfile.read(int(self.headers["content-length"])))
        with told.counted():
            told.bodies.append(body)
            told.keys.append(self.headers.get("authorization", ""))
            told.headers.append(dict(self.headers.items()))
            told.before()
            fault = told.faults.popleft() if told.faults else told.fault
            if fault:
                fault(self)
            else:
                self.answer(body)

    def answer(self, body: dict[str, Any]) -> None:
        told = self.told
        # A client that takes this server for a proxy sends the whole address.
        if self.path.removeprefix("http://models.example") != "/v1/chat/completions":
            return self.say(404, {"detail": "Not Found"})
        if told.key and self.headers.get("authorization") != f"Bearer {told.key}":
            return self.say(401, {"error": {"message": f"wrong key: {self.headers.get('authorization')}"}})
        if body["model"] != told.model:
            return self.say(404, {"error": {"message": f"no model {body['model']}", "code": "model_not_found"}})
        for name, words in told.refuses.items():
            if name in body:
                return self.say(400, {"error": {"message": words, "param": name}})
        messages = body["messages"]
        begun = messages[-1]["content"] if messages[-1]["role"] == "assistant" else ""
        if begun and told.prefill == "refused":
            return self.say(400, {"error": {"message": "The conversation must end with a user message."}})
        if not told.system and messages[0]["role"] == "system":
            return self.say(400, {"error": {"message": "System role not supported"}})
        goes_on = bool(begun) and (
            told.prefill == "always" or (told.prefill == "flags" and body.get("continue_final_message") is True)
        )
        tokens = sum(FRAME + len(message["content"].split()) for message in messages) + (0 if goes_on else FRAME)
        again = "Solution: " if (begun and not goes_on and told.begins_again) else " "
        asked = next(message["content"] for message in reversed(messages) if message["role"] == "user")
        said = f"{again}{sum(map(int, re.findall(r'[0-9]+', asked)))}"
        pieces = [said[:2], said[2:], "\n", "Answer: it"]
        self.complete(body, pieces, tokens)

    def complete(self, body: dict[str, Any], pieces: list[str], prompt_tokens: int) -> None:
        told = self.told
        usage = {
            "prompt_tokens": prompt_tokens,
            "completion_tokens": len(pieces) + 1,
            "prompt_tokens_details": {"cached_tokens": prompt_tokens // 2},
        }
        if not body.get("stream") or told.in_one_piece:
            message = {"role": "assistant", "content": "".join(pieces)}
            choice = {"index": 0, "message": message, "finish_reason": told.finish_reason}
            return self.say(200, {"choices": [choice]} | ({"usage": usage} if told.counts else {}))
        self.begin_stream()
        self.send({"choices": [{"index": 0, "delta": {"role": "assistant", "content": ""}}]})
        for piece in pieces:
            self.send({"choices": [{"index": 0, "delta": {"content": piece}}]})
        self.send({"choices": [{"index": 0, "delta": {}, "finish_reason": told.finish_reason}]})
        if told.counts and body.get("stream_options", {}).get("include_usage"):
            self.send({"choices": [], "usage": usage})
        self.send("[DONE]")
        return self.chunk(b"")

    # --- parts, for faults too ------------------------------------------------------------------------------

    def say(self, status: int, body: Any, kind: str = "application/json", **headers: str) -> None:
        data = body.encode() if isinstance(body, str) else json.dumps(body).encode()
        self.send_response(status)
        self.send_header("content-type", kind)
        self.send_header("content-length", str(len(data)))
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        self.wfile.write(data)

    def begin_stream(self) -> None:
        self.send_response(200)
        self.send_header("content-type", "text/event-stream")
        self.send_header("transfer-encoding", "chunked")
        self.end_headers()

    def send(self, event: Any) -> None:
        text = event if isinstance(event, str) else json.dumps(event)
        self.chunk(f"data: {text}\n\n".encode())

    def chunk(self, data: bytes) -> None:
        # The client may have hung up: that is what some tests are about.
        try:
            self.wfile.write(b"%x\r\n%s\r\n" % (len(data), data))
            self.wfile.flush()
        except ConnectionError:
            self.told.hung_up.set()
            self.close_connection = True

    def chunks_without_end(self, data: bytes, every_s: float = 0.0) -> None:
        """The same again and again, until the client hangs up."""
        while not self.told.hung_up.is_set() and not self.told.release.wait(every_s):
            self.chunk(data)


PIECE = {"choices": [{"index": 0, "delta": {"content": "a piece"}}]}


def status(code: int, message: str = "on purpose", **headers: str) -> Fault:
    return lambda handler: handler.say(code, {"error": {"message": message}}, **headers)


def redirect(url: str) -> Fault:
    return lambda handler: handler.say(307, "", location=url)


def web_page(handler: Handler) -> None:
    handler.say(200, "<!doctype html><title>Welcome</title>", "text/html")


def lost_page(handler: Handler) -> None:
    handler.say(404, "<html><h1>404 Not Found</h1></html>", "text/html")


def no_post(handler: Handler) -> None:
    """As a server of files says it."""
    handler.say(501, "<html><h1>Unsupported method ('POST')</h1></html>", "text/html")


def filtered(handler: Handler) -> None:
    """As Azure says it."""
    words = "The response was filtered due to the prompt triggering Azure OpenAI's content management policy."
    handler.say(400, {"error": {"message": words, "param": "prompt", "code": "content_filter"}})


def cut(handler: Handler) -> None:
    """The connection breaks in the middle of an answer."""
    handler.begin_stream()
    handler.send(PIECE)
    handler.close_connection = True


def silent_end(handler: Handler) -> None:
    """The stream ends properly, and the answer does not."""
    handler.begin_stream()
    handler.send(PIECE)
    handler.chunk(b"")


def unheard(handler: Handler) -> None:
    """Not a byte in answer."""
    handler.close_connection = True


def hang(handler: Handler) -> None:
    handler.begin_stream()
    handler.send(PIECE)
    handler.told.release.wait(WAIT_S)
    handler.close_connection = True


def garbage(handler: Handler) -> None:
    handler.begin_stream()
    handler.send('{"choices": [')
    handler.chunk(b"")


def nonsense(handler: Handler) -> None:
    handler.begin_stream()
    handler.send({"choices": [{"delta": {"content": 7}}]})
    handler.chunk(b"")


def whole(body: Any, kind: str = "application/json") -> Fault:
    """The reply in one piece."""
    return lambda handler: handler.say(200, body, kind)


def events(*sent: Any) -> Fault:
    """A stream of these events, bytes as they are, to its end."""

    def fault(handler: Handler) -> None:
        handler.begin_stream()
        for event in sent:
            handler.chunk(event) if isinstance(event, bytes) else handler.send(event)
        handler.chunk(b"")

    return fault


def delta(content: Any = None, finish_reason: Any = None, **more: Any) -> dict[str, Any]:
    return {"choices": [{"index": 0, "delta": {"content": content, **more}, "finish_reason": finish_reason}]}


def message(content: Any = None, finish_reason: Any = "stop", **more: Any) -> dict[str, Any]:
    return {"choices": [{"index": 0, "message": {"content": content, **more}, "finish_reason": finish_reason}]}


def without_end(data: bytes, every_s: float = 0.0) -> Fault:
    """A stream that never ends."""

    def fault(handler: Handler) -> None:
        handler.begin_stream()
        handler.chunks_without_end(data, every_s)

    return fault


def error_without_end(handler: Handler) -> None:
    handler.send_response(500)
    handler.send_header("transfer-encoding", "chunked")
    handler.end_headers()
    handler.chunks_without_end(b"x" * (1 << 16))


def error_in_stream(handler: Handler) -> None:
    handler.begin_stream()
    handler.send(PIECE)
    handler.send({"error": {"message": "out of memory"}})
    handler.chunk(b"")


@contextmanager
def running() -> Iterator[Server]:
    """A server on a free port of loopback; `close` ends it before its time."""
    handler = type("ToldHandler", (Handler,), {})
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as http:
        http.daemon_threads = True
        told = handler.told = Server(http.server_address[1])  # type: ignore[attr-defined]
        thread = threading.Thread(target=http.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
        thread.start()

        def close() -> None:
            told.release.set()
            if thread.is_alive():
                http.shutdown()
                thread.join()
                http.server_close()

        told.close = close
        try:
            yield told
        finally:
            close()
