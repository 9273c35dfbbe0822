"""The process between the peers of tests/benchmarks/broker_load.py: the broker itself, or `zmq.proxy`."""

import sys
from pathlib import Path

import zmq

from broker import auth, batching, child_process, server
from broker.authenticator import KeyFolderAuthenticator
from tests.benchmarks.broker_load import Middle


def proxy(middle: Middle) -> None:
    """Pass frames from the classroom to the student and back until the process is killed."""
    context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
    keys = Path(middle.spec.keys) if middle.spec.keys else None
    if keys:
        KeyFolderAuthenticator(context, keys, print).start()
    front, back = context.socket(zmq.ROUTER), context.socket(zmq.DEALER)
    for socket, endpoint in ((front, middle.spec.endpoint), (back, middle.answers)):
        if keys:
            auth.secure_server(socket, keys, auth.MESSAGES)
        socket.bind(endpoint)
    zmq.proxy(front, back)


def main() -> int:
    """Run what the parent process describes on standard input."""
    middle = child_process.receive(Middle)
    if middle.kind == "proxy":
        proxy(middle)
        return 1
    batching.BATCH = middle.batch  # type: ignore[attr-defined]
    child_process.receive = lambda _: middle.spec  # type: ignore[assignment, return-value]
    return server.main()


if __name__ == "__main__":
    sys.exit(main())
