"""Render chat templates in a separate process with limits on processor time and memory.

A template comes with a model's files and is a program: it may loop forever or build a text of any size. The process
starts on first use and renders all templates of its parent. Run as a module, this file is that process; it offers a
template the same functions as `apply_chat_template` of transformers.
"""

import atexit
import functools
import io
import json
import os
import resource
import signal
import subprocess
import sys
import threading
from datetime import datetime
from pathlib import Path
from typing import Any

import jinja2
import msgspec
from jinja2 import nodes
from jinja2.ext import Extension
from jinja2.parser import Parser
from jinja2.sandbox import ImmutableSandboxedEnvironment

from broker import child_process
from broker.errors import EngineError

LIMIT_S = 5.0
"""Limit on the processor time of one rendering, which normally takes about a millisecond."""
MEMORY = 1 << 30
"""Limit on the address space in bytes, on Linux."""
LONGEST = 1 << 24
"""Limit on the bytes of a rendered text: more than the context of any model."""


class TemplateFailed(EngineError):
    """A template renders no text; the reason in one line."""


class TemplateTooSlow(TemplateFailed):
    """The template exceeds its processor time; a retry would, too."""


class Rendering(msgspec.Struct, frozen=True):
    """Input of the rendering process: a template and its variables."""

    template: str
    values: dict[str, Any]
    limit_s: float


class Rendered(msgspec.Struct, frozen=True):
    """Output of the rendering process: the text, or an error."""

    text: str = ""
    error: str = ""


class Renderer:
    """Renders templates one at a time in a process that it owns. Thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None
        self._answers: io.BufferedReader | None = None
        self._too_slow: set[str] = set()

    def render(self, template: str, values: dict[str, Any]) -> str:
        """Render `template` with `values`. A template that once exceeded its processor time is not tried again.

        Raises:
            TemplateFailed: it refuses these values, has an error, or needs too much time or memory.
        """
        rendering = Rendering(template, values, LIMIT_S)
        too_slow = f"it needs more than {LIMIT_S:g} s of processor time"
        with self._lock:
            if template in self._too_slow:
                raise TemplateTooSlow(too_slow)
            # A second try, because another program may have killed the process, for example if memory is short.
            for _ in range(2):
                rendered = self._ask(rendering)
                if rendered is not None:
                    break
                if self._end() == -signal.SIGPROF:
                    self._too_slow.add(template)
                    raise TemplateTooSlow(too_slow)
            else:
                raise TemplateFailed("its process ended before the text was there")
        if rendered.error:
            raise TemplateFailed(" ".join(rendered.error.split())[:300])
        return rendered.text

    def _ask(self, rendering: Rendering) -> Rendered | None:
        """Send a rendering and return the answer; None if the process ended."""
        if self._process is None or self._answers is None:
            self._process = child_process.spawn(
                "agents.engines.templates", rendering, env={}, log=Path(os.devnull), pipe_stdout=True
            )
            assert isinstance(self._process.stdout, io.FileIO)  # noqa: S101  (a pipe without a buffer)
            self._answers = io.BufferedReader(self._process.stdout)
        else:
            child_process.send(self._process, rendering)
        line = self._answers.readline()
        return msgspec.json.decode(line, type=Rendered) if line.endswith(b"\n") else None

    def _end(self) -> int:
        """Close the pipes, which ends the process, and return its exit code."""
        process, answers = self._process, self._answers
        self._process = self._answers = None
        assert process is not None and answers is not None and process.stdin is not None  # noqa: S101
        answers.close()
        process.stdin.close()
        return process.wait()

    def close(self) -> None:
        """End the process; the next rendering starts a new one."""
        with self._lock:
            if self._process is not None:
                self._end()


@functools.cache
def renderer() -> Renderer:
    """Return the renderer of this process."""
    only = Renderer()
    atexit.register(only.close)
    return only


# --- the rendering process ------------------------------------------------------------------------------


class Generation(Extension):
    """`{% generation %}` marks text that a model is trained on; its content is rendered like any other."""

    tags = {"generation"}  # noqa: RUF012  (as jinja declares it)

    def parse(self, parser: Parser) -> nodes.Node:
        """Parse the block into a scope."""
        line = next(parser.stream).lineno
        body = parser.parse_statements(("name:endgeneration",), drop_needle=True)
        return nodes.Scope(body, lineno=line)


def _raise_exception(message: str) -> None:
    raise jinja2.TemplateError(message)


def _tojson(value: Any, ensure_ascii: bool = False, **options: Any) -> str:
    return json.dumps(value, ensure_ascii=ensure_ascii, **options)


@functools.cache
def compiled(template: str) -> jinja2.Template:
    """Compile a template as transformers does."""
    environment = ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=[Generation, "jinja2.ext.loopcontrols"]
    )
    environment.filters["tojson"] = _tojson
    environment.globals["raise_exception"] = _raise_exception
    environment.globals["strftime_now"] = lambda form: datetime.now().strftime(form)  # noqa: DTZ005  (as transformers)
    return environment.from_string(template)


def _render(rendering: Rendering) -> Rendered:
    try:
        text = compiled(rendering.template).render(rendering.values)
        size = len(text.encode())
    except jinja2.TemplateSyntaxError as error:
        return Rendered(error=f"line {error.lineno}: {error.message}")
    except jinja2.TemplateError as error:
        return Rendered(error=str(error))
    except MemoryError:
        return Rendered(error=f"it needs more than {MEMORY >> 20} MB of memory")
    except Exception as error:  # a template is a program, with mistakes of any kind
        return Rendered(error=f"{type(error).__name__}: {error}")
    return Rendered(text) if size <= LONGEST else Rendered(error=f"it makes a text of {size >> 20} MB")


def _main() -> None:
    """Render templates from the parent until it closes the pipe."""
    rendering: Rendering | None = child_process.receive(Rendering)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    _, hard = resource.getrlimit(resource.RLIMIT_AS)
    if sys.platform == "linux":
        resource.setrlimit(resource.RLIMIT_AS, (MEMORY if hard == resource.RLIM_INFINITY else min(MEMORY, hard), hard))
    while rendering:
        # The signal ends this process at the limit. It counts processor time, so a busy machine fails no template.
        signal.setitimer(signal.ITIMER_PROF, rendering.limit_s)
        rendered = _render(rendering)
        signal.setitimer(signal.ITIMER_PROF, 0.0)
        sys.stdout.buffer.write(msgspec.json.encode(rendered) + b"\n")
        sys.stdout.buffer.flush()
        rendering = child_process.receive_next(Rendering)


if __name__ == "__main__":
    _main()
