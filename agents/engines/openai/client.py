"""The client of the `openai` library. From the environment it uses only the key and the proxy settings."""

import contextlib
import logging
import os
import ssl
from collections.abc import Iterator

import openai

from agents.engines.openai.errors import raise_for_status
from agents.engines.openai.options import ServerOptions
from agents.engines.openai.proxy import proxy_for, without_password

log = logging.getLogger(__name__)

CONNECT_S = 10.0


def make_client(options: ServerOptions, key: str) -> openai.AsyncOpenAI:
    """Create a client for the server of `options`, without a call.

    Raises:
        EngineStartError: the proxy of the environment cannot be used.
    """
    # The HTTP library logs every request.
    for chatty in ("httpx", "httpx2"):
        logging.getLogger(chatty).setLevel(logging.WARNING)
    proxy = proxy_for(options.base_url)
    if proxy:
        log.info("calls go through the proxy %s", without_password(proxy))
    own_certificates = {"SSL_CERT_FILE", "SSL_CERT_DIR"} & os.environ.keys()
    with _without_library_variables():
        return openai.AsyncOpenAI(
            base_url=options.base_url,
            api_key=key or "none",
            timeout=openai.Timeout(options.timeout_s, connect=min(CONNECT_S, options.timeout_s)),
            max_retries=0,
            http_client=openai.DefaultAsyncHttpxClient(
                # A redirect would send the prompts, and perhaps the key, to a server that the scenario does not name.
                follow_redirects=False,
                proxy=proxy or None,
                trust_env=False,  # else the library also looks for proxies; it then ignores the two variables, too
                verify=ssl.create_default_context() if own_certificates else True,
                event_hooks={"response": [raise_for_status]},
            ),
        )


@contextlib.contextmanager
def _without_library_variables() -> Iterator[None]:
    """Hide variables from which the library would send an organization, headers and a key."""
    hidden = {name: os.environ.pop(name) for name in list(os.environ) if name.startswith("OPENAI_")}
    try:
        yield
    finally:
        os.environ.update(hidden)
