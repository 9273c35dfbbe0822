"""The client of the `openai` library. Of the environment it uses one key and the proxy settings, and nothing else."""

import logging
import os
import ssl

import openai

from agents.engines.openai.errors import raise_for_status
from agents.engines.openai.key import without_library_variables
from agents.engines.openai.options import ServerOptions
from agents.engines.openai.proxy import proxy_for, without_password

log = logging.getLogger(__name__)

CONNECT_S = 10.0


def make_client(options: ServerOptions, key: str) -> openai.AsyncOpenAI:
    """A client for the server that `options` names; it makes no call yet.

    Raises:
        EngineStartError: the proxy that the environment names cannot be used.
    """
    # The HTTP library tells of every request; with it a log would hold little else.
    for chatty in ("httpx", "httpx2"):
        logging.getLogger(chatty).setLevel(logging.WARNING)
    proxy = proxy_for(options.base_url)
    if proxy:
        log.info("calls go through the proxy %s", without_password(proxy))
    own_certificates = {"SSL_CERT_FILE", "SSL_CERT_DIR"} & os.environ.keys()
    with without_library_variables():
        return openai.AsyncOpenAI(
            base_url=options.base_url,
            api_key=key or "none",
            timeout=openai.Timeout(options.timeout_s, connect=min(CONNECT_S, options.timeout_s)),
            max_retries=0,
            http_client=openai.DefaultAsyncHttpxClient(
                # A redirect would take the prompts, and between some hosts the key, to a server nobody named.
                follow_redirects=False,
                proxy=proxy or None,
                trust_env=False,  # else the library looks for proxies, too; it also ignores the two variables then
                verify=ssl.create_default_context() if own_certificates else True,
                event_hooks={"response": [raise_for_status]},
            ),
        )
