"""The address of a class's broker: that of the scenario, or one that the launcher has chosen for this session.

A chosen one is kept beside the scenario while the session lasts, for `watch` and `ctl`. The next session may be on
another host, and chooses anew.
"""

import contextlib
from collections.abc import Iterator
from pathlib import Path

from broker.endpoints import lock_ipc_folder
from broker.files import write_atomically

FILE = "broker-address"


def address_of(recorded: str, run_folder: Path) -> str:
    """The broker's address now; `recorded`: that of the scenario."""
    with contextlib.suppress(FileNotFoundError):
        if recorded == "ipc":
            return (run_folder / FILE).read_text()
    return recorded


@contextlib.contextmanager
def kept(recorded: str, run_folder: Path, chosen: str) -> Iterator[None]:
    """Keep the chosen address, or the folder of the sockets, while a session lasts; see lock_ipc_folder.

    `chosen`: what the launcher chose in place of `ipc`, or empty. An address that the scenario names wins.
    """
    file = run_folder / FILE
    file.unlink(missing_ok=True)  # of a session that was killed
    if chosen and recorded == "ipc":
        write_atomically(file, chosen.encode())
    try:
        with lock_ipc_folder(run_folder) if address_of(recorded, run_folder) == "ipc" else contextlib.nullcontext():
            yield
    finally:
        with contextlib.suppress(OSError):  # the folder may have been moved
            file.unlink()
