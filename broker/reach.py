"""Whether a host can reach a broker on another one: what `agents.main --invite` checks before it loads anything."""

import contextlib
import math
import re
import socket
import threading
import time
from pathlib import Path

import zmq

from broker.errors import ProtocolError
from broker.peer_socket import PeerSocket

REACH_S = 10.0
"""How long the check takes at most."""
RETRY_S = 0.2


ADVICE = (
    "Does the class run, is the address right, does a firewall close the port? "
    "`run.py invite --address HOST:PORT` writes another address."
)


def check_reachable(endpoint: str, name: str, keys: Path, timeout_s: float = REACH_S, advice: str = ADVICE) -> None:
    """Connect to a broker as the peer `name`, without a message.

    Args:
        endpoint: tcp://HOST:PORT.
        name: of the peer.
        keys: an invitation, or a folder with keys.
        timeout_s: how long to try.
        advice: what to do where no connection can be made.

    Raises:
        ProtocolError: it cannot be reached, is no broker of this class, or does not accept the key.
        SecurityError: see `auth.secure_client`.
    """
    until = time.monotonic() + timeout_s
    if why := unreachable(endpoint, until):
        raise ProtocolError(f"{endpoint}: no broker can be reached there from this host: {why}\n{advice}")
    with zmq.Context() as context, contextlib.closing(PeerSocket(context, endpoint, name, keys)) as peer:
        peer.data.linger = 0
        while not peer.connected and not peer.rejected and (left_s := until - time.monotonic()) > 0:
            if peer.monitor.poll(math.ceil(1000 * left_s)):
                peer.read_monitor()
        if peer.rejected:
            raise ProtocolError(
                f"{endpoint}: the broker does not accept the key of {name}: it was revoked.\nAsk for a new invitation."
            )
        if not peer.connected:
            raise ProtocolError(
                f"{endpoint}: something answers there that is not the broker of this invitation, or not within "
                f"{timeout_s:g} s\nDoes another class use this address now?"
            )


def unreachable(endpoint: str, until: float) -> str:
    """Why no TCP connection can be made until this time; empty: one was made."""
    match = re.fullmatch(r"tcp://\[?(.*?)\]?:(\d+)", endpoint)
    assert match  # noqa: S101 - there are no other endpoints
    why = [f"no answer within {REACH_S:g} s"]

    def attempt() -> None:
        while (left_s := until - time.monotonic()) > 0:
            try:
                socket.create_connection((match[1], int(match[2])), timeout=left_s).close()
            except TimeoutError:
                return
            except OSError as error:
                why[0] = error.strerror or str(error)
                time.sleep(RETRY_S)
            except (OverflowError, ValueError) as error:  # no port has this number, or no host this name
                why[0] = str(error)
                return
            else:
                why[0] = ""
                return

    # A thread, since looking up the name of a host may take longer.
    thread = threading.Thread(target=attempt, name="reach", daemon=True)
    thread.start()
    thread.join(max(0.0, until - time.monotonic()) + RETRY_S)
    return why[0]
