"""Choose the proxy for calls to a server by HTTP_PROXY, HTTPS_PROXY, ALL_PROXY and NO_PROXY.

The HTTP library's own choice fails on a proxy that it would not use, and sends calls to this machine through a proxy.
"""

import contextlib
import importlib.util
import ipaddress
import re
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

from agents.engines.base import EngineStartError
from agents.engines.openai.options import is_loopback

SCHEMES = ("http", "https", "socks5", "socks5h")


def proxy_for(base_url: str) -> str:
    """Return the proxy for a server; empty if there is none, as always for this machine.

    Raises:
        EngineStartError: an unknown kind of proxy, or its package is not installed.
    """
    url, proxies = urlsplit(base_url), getproxies()
    proxy = proxies.get(url.scheme) or proxies.get("all") or ""
    host = url.hostname or ""
    if not proxy or is_loopback(host) or proxy_bypass(url.netloc) or _in_network(host, proxies.get("no", "")):
        return ""
    proxy = proxy if "://" in proxy else f"http://{proxy}"
    scheme = proxy.partition("://")[0].lower()
    variable = f"{url.scheme}_proxy" if proxies.get(url.scheme) else "all_proxy"
    where, to_do = without_password(proxy), f"or set NO_PROXY={host}"
    if not _is_address(proxy):
        raise EngineStartError(f"the proxy {where!r} is no address: change {variable.upper()}, {to_do}")
    if scheme not in SCHEMES:
        raise EngineStartError(f"the proxy {where} is of an unknown kind: change {variable.upper()}, {to_do}")
    if scheme.startswith("socks") and not importlib.util.find_spec("socksio"):
        raise EngineStartError(f"the proxy {where} needs the package socksio: pip install socksio, {to_do}")
    return proxy


def without_password(proxy: str) -> str:
    """Return the address of a proxy without its password."""
    scheme, _, rest = proxy.partition("://")
    return f"{scheme}://{rest.rpartition('@')[2]}"


def _is_address(proxy: str) -> bool:
    try:
        url = urlsplit(proxy)
        return bool(url.hostname) and url.port != 0 and not re.search(r"\s", proxy)
    except ValueError:
        return False


def _in_network(host: str, no_proxy: str) -> bool:
    """Whether NO_PROXY names a network, such as 10.0.0.0/8, that contains the host."""
    for entry in no_proxy.split(","):
        with contextlib.suppress(ValueError):
            if ipaddress.ip_address(host) in ipaddress.ip_network(entry.strip(), strict=False):
                return True
    return False
