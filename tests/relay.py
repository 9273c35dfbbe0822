"""A TCP proxy that disturbs the connections it passes on: `python -m tests.relay LISTEN_PORT HOST PORT`.

Lines on standard input: `delay SECONDS` (each way), `cut` (reset all connections), `part` (pass nothing on, and accept
no new connections, until `heal`; what came meanwhile is passed on then, as TCP would send it again). Each line is
answered by itself on standard output, and a connection that an end closed is reported as `closed`, or `closed while
parted`.
"""

import asyncio
import sys


class Relay:
    """Passes bytes on between the peers of a port and a server."""

    def __init__(self, host: str, port: int) -> None:
        self._target = host, port
        self._delay_s = 0.0
        self._whole = asyncio.Event()
        self._whole.set()
        self._writers: set[asyncio.StreamWriter] = set()

    async def connect(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Pass on one connection until an end closes it."""
        await self._whole.wait()
        try:
            there, to_there = await asyncio.open_connection(*self._target)
        except OSError:
            writer.close()
            return
        self._writers |= {writer, to_there}
        await asyncio.gather(self._pass_on(reader, to_there), self._pass_on(there, writer))

    async def _pass_on(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Read all the time, so that an end is noticed, and write in order when the way is free."""
        waiting: asyncio.Queue[tuple[float, bytes]] = asyncio.Queue()
        writing = asyncio.create_task(self._write(waiting, writer))
        now = asyncio.get_running_loop().time
        try:
            while part := await reader.read(1 << 16):
                waiting.put_nowait((now() + self._delay_s, part))
        except ConnectionError:
            pass
        print("closed" if self._whole.is_set() else "closed while parted", flush=True)
        waiting.put_nowait((0.0, b""))
        await writing
        self._writers.discard(writer)
        writer.close()

    async def _write(self, waiting: "asyncio.Queue[tuple[float, bytes]]", writer: asyncio.StreamWriter) -> None:
        while True:
            due, part = await waiting.get()
            await asyncio.sleep(max(0.0, due - asyncio.get_running_loop().time()))
            await self._whole.wait()
            if not part or writer.is_closing():
                return
            writer.write(part)

    def obey(self, line: str) -> None:
        """Carry out a line of standard input."""
        match line.split():
            case ["delay", seconds]:
                self._delay_s = float(seconds)
            case ["cut"]:
                for writer in self._writers:
                    writer.transport.abort()
                self._writers.clear()
            case ["part"]:
                self._whole.clear()
            case ["heal"]:
                self._whole.set()
            case _:
                raise ValueError(line)
        print(line, flush=True)


async def main(listen: int, host: str, port: int) -> None:
    """Serve until standard input ends."""
    relay = Relay(host, port)
    lines = asyncio.StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(lines), sys.stdin)
    async with await asyncio.start_server(relay.connect, "", listen):
        print("listening", flush=True)
        while line := (await lines.readline()).decode().strip():
            relay.obey(line)


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1]), sys.argv[2], int(sys.argv[3])))
