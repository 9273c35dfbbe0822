"""Programs that attack the sandbox, and what may become of each.

As a program, this file attacks a sandbox of its own and prints what was not contained: the tests start it as another
user.
"""

import contextlib
import socket
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec

from scenarios.tasks.sandbox.outcome import CallOutcome, ProgramLimits
from scenarios.tasks.sandbox.pool import Sandbox

LIMITS = ProgramLimits(seconds=0.5, memory_mb=128, processes=8)
UNREAD = "what no program may read"


class Hostile(msgspec.Struct, frozen=True):
    code: str
    errors: tuple[str, ...] = ()
    """The outcomes that are allowed besides values."""
    values: tuple[Any, ...] = ()
    """The values that are allowed."""


LIBC = "import ctypes\nc = ctypes.CDLL(None, use_errno=True)\n"
REFUSED = (-1, [-1, 1])
"""A system call fails, where the errno is returned with EPERM."""

PROGRAMS = {
    # processes
    "fork bomb": Hostile(
        "import os\ndef f(given):\n    while True:\n        os.fork()", ("exception", "timeout", "crashed")
    ),
    "many processes": Hostile(
        """import os, signal
def f(given):
    for n in range(200):
        try:
            if not os.fork():
                signal.pause()
        except OSError:
            return n <= 8""",
        values=(True,),
    ),
    "many threads": Hostile(
        """import threading
def f(given):
    for n in range(200):
        try:
            threading.Thread(target=threading.Event().wait, daemon=True).start()
        except RuntimeError:
            return n <= 8""",
        values=(True,),
    ),
    "children that use the processor": Hostile(
        """import os
def f(given):
    children = [os.fork() for _ in range(2)]
    while True:
        pass""",
        ("timeout", "crashed", "exception"),
    ),
    "other processes": Hostile(
        """import os
def f(given):
    found = []
    for pid in range(2, 5000):
        try:
            os.kill(pid, 0)
            found.append(pid)
        except ProcessLookupError:
            pass
    return found == [os.getpid()]""",
        values=(True,),
    ),
    "kill the supervisor": Hostile(
        """import os, signal
def f(given):
    for number in range(1, 65):
        try:
            os.kill(os.getppid(), number)
            os.kill(1, number)
        except OSError:
            pass
    return 'alive'""",
        values=("alive",),
    ),
    "kill all": Hostile(
        "import os\ndef f(given):\n    os.kill(-1, 9)\n    os.kill(os.getpid(), 9)", ("crashed", "exception")
    ),
    "kill the group": Hostile("import os\ndef f(given):\n    os.killpg(0, 9)", ("crashed",)),
    "limits of the supervisor": Hostile(
        "import resource\ndef f(given):\n    resource.prlimit(1, resource.RLIMIT_NOFILE, (0, 0))", ("exception",)
    ),
    "its own limits": Hostile(
        "import resource\ndef f(given):\n    resource.setrlimit(resource.RLIMIT_CPU, (99, 99))", ("exception",)
    ),
    "ptrace": Hostile(LIBC + "def f(given):\n    return [c.ptrace(16, 1, 0, 0), ctypes.get_errno()]", values=REFUSED),
    "memory of the supervisor": Hostile(
        LIBC + "def f(given):\n    return [c.process_vm_readv(1, 0, 0, 0, 0, 0), ctypes.get_errno()]", values=REFUSED
    ),
    "priority of the supervisor": Hostile(
        LIBC + "def f(given):\n    return [c.setpriority(0, 1, 19), ctypes.get_errno()]", values=REFUSED
    ),
    # the kernel
    "user namespace": Hostile(
        LIBC + "def f(given):\n    return [c.unshare(0x10000000), ctypes.get_errno()]", values=REFUSED
    ),
    "user namespace by clone": Hostile(
        LIBC
        + """import os
def f(given):
    clone = 56 if os.uname().machine == 'x86_64' else 220
    return [c.syscall(clone, 0x10000000 | 17, 0, 0, 0, 0), ctypes.get_errno()]""",
        values=REFUSED,
    ),
    "mount": Hostile(
        LIBC + "def f(given):\n    return [c.mount(b'/', b'/tmp', 0, 4096, 0), ctypes.get_errno()]", values=REFUSED
    ),
    "become root": Hostile("import os\ndef f(given):\n    os.setuid(0)", ("exception",)),
    "shared memory": Hostile(
        LIBC + "def f(given):\n    return [c.shmget(7, 4096, 0o1666), ctypes.get_errno()]", values=REFUSED
    ),
    # files
    "read /etc/passwd": Hostile("def f(given):\n    return open('/etc/passwd').read()", ("exception",)),
    "read the run folder": Hostile("def f(given):\n    return open(given['file']).read()", ("exception",)),
    "a symlink out": Hostile(
        "import os\ndef f(given):\n    os.symlink('/', 'all')\n    return open('all' + given['file']).read()",
        ("exception",),
    ),
    "write elsewhere": Hostile(
        """import os, sys
def f(given):
    for folder in ('/', '/usr/lib', '/dev', '/etc', os.path.dirname(os.__file__), os.path.dirname(sys.executable)):
        try:
            open(os.path.join(folder, 'x'), 'w')
            return folder
        except OSError:
            pass
    return ''""",
        values=("",),
    ),
    "find files": Hostile(
        """import os
def f(given):
    return sorted(set(os.listdir('/')) - {'lib', 'lib64', 'usr', 'nix'}) + os.listdir('/etc') + os.listdir('/tmp')""",
        values=(["dev", "etc", "tmp", "ld.so.cache"], ["dev", "etc", "root", "tmp", "ld.so.cache"]),
    ),
    "disk flood": Hostile(
        """def f(given):
    n = 0
    while True:
        with open(f'{n}', 'wb') as file:
            file.write(bytes(1 << 20) * 8)
        n += 1""",
        ("exception",),
    ),
    "a large file": Hostile("def f(given):\n    open('x', 'wb').truncate(1 << 30)", ("exception",)),
    "many files": Hostile(
        "def f(given):\n    for n in range(10**9):\n        open(f'{n}', 'w').close()", ("timeout", "exception")
    ),
    "a folder that cannot be emptied": Hostile(
        """import os
def f(given):
    for n in range(2000):
        os.mkdir('deep')
        os.chdir('deep')
    os.chmod('/tmp', 0)""",
        values=(None,),
        errors=("exception",),
    ),
    # network
    "tcp": Hostile(
        "import socket\ndef f(given):\n    socket.create_connection(('127.0.0.1', given['port']))", ("exception",)
    ),
    "abstract socket": Hostile(
        """import socket
def f(given):
    socket.socket(socket.AF_UNIX).connect('\\0' + given['name'])""",
        ("exception",),
    ),
    "vsock": Hostile("import socket\ndef f(given):\n    socket.socket(socket.AF_VSOCK)", ("exception",)),
    "names": Hostile("import socket\ndef f(given):\n    return socket.gethostbyname('example.org')", ("exception",)),
    # environment and descriptors
    "environment": Hostile(
        "import os\ndef f(given):\n    return sorted(set(os.environ) - {'PYTHONHASHSEED', 'PWD', 'LC_CTYPE'})",
        values=([],),
    ),
    "descriptors": Hostile(
        """import os
def f(given):
    found = []
    for number in range(1000):
        try:
            os.fstat(number)
            found.append(number)
        except OSError:
            pass
    return found""",
        values=([0, 1, 2, 3],),
    ),
    "closing descriptors": Hostile("import os\ndef f(given):\n    os.closerange(0, 99)", ("crashed",)),
    "garbage on every descriptor": Hostile(
        """import os
def f(given):
    for number in range(9):
        try:
            os.write(number, b'\\xff\\x00{"value": "' * 9)
        except OSError:
            pass""",
        ("crashed",),
    ),
    "two answers": Hostile("import os\ndef f(given):\n    os.write(3, b'{\"value\": 1}')\n    return 2", ("crashed",)),
    # memory and output
    "memory at once": Hostile("def f(given):\n    return len([0] * 10**10)", ("memory",)),
    "memory by and by": Hostile(
        "def f(given):\n    x = []\n    while True:\n        x.append(bytes(1 << 20))", ("memory",)
    ),
    "mmap": Hostile("import mmap\ndef f(given):\n    mmap.mmap(-1, 1 << 32)", ("exception",)),
    "print flood": Hostile("def f(given):\n    while True:\n        print('x' * 10**4)", ("timeout",)),
    "long value": Hostile("def f(given):\n    return 'x' * 10**6", ("output",)),
    "answer flood": Hostile(
        "import os\ndef f(given):\n    while True:\n        os.write(3, b'x' * 10**6)",
        ("output", "exception", "timeout"),
    ),
    "list of everything": Hostile(
        "import itertools\ndef f(given):\n    return list(itertools.count())", ("memory", "timeout")
    ),
    # time
    "ignored signals": Hostile(
        """import signal
def f(given):
    for number in range(1, 65):
        try:
            signal.signal(number, signal.SIG_IGN)
        except (OSError, ValueError):
            pass
    while True:
        pass""",
        ("timeout",),
    ),
    "caught errors": Hostile(
        """def f(given):
    while True:
        try:
            while True:
                pass
        except BaseException:
            pass""",
        ("timeout",),
    ),
    "waiting": Hostile("import time\ndef f(given):\n    time.sleep(10**6)", ("timeout",)),
    "endless module": Hostile("while True:\n    pass", ("timeout",)),
    "large power": Hostile("def f(given):\n    return len(str(9**9**9))", ("timeout", "memory")),
    "constant to fold": Hostile("x = 'x' * 10**9 * 10**9\ndef f(given):\n    return x", ("memory", "exception")),
    "regular expression": Hostile("import re\ndef f(given):\n    re.match('(a*)*b', 'a' * 99)", ("timeout",)),
    # ends
    "exit": Hostile("import os\ndef f(given):\n    os._exit(0)", ("crashed",)),
    "sys.exit": Hostile("import sys\ndef f(given):\n    sys.exit(0)", ("exception",)),
    "sys.exit of the module": Hostile("import sys\nsys.exit(0)", ("exception",)),
    "abort": Hostile("import os\ndef f(given):\n    os.abort()", ("crashed",)),
    "deep recursion": Hostile("def f(given):\n    return f(given)", ("exception",)),
    "deeper recursion": Hostile(
        """import sys
class Deep:
    def __repr__(self):
        return repr(self)
def f(given):
    sys.setrecursionlimit(10**9)
    return repr(Deep())""",
        ("crashed", "memory", "exception", "timeout"),
    ),
    "an error that cannot be told": Hostile(
        """class Quiet(Exception):
    def __str__(self):
        raise self
def f(given):
    raise Quiet""",
        ("exception",),
    ),
    "replaced exit": Hostile(
        "import os\nos._exit = lambda code: None\ndef f(given):\n    return 1", ("crashed", "timeout"), values=(1,)
    ),
    # values
    "huge number": Hostile("def f(given):\n    return 10**10000", ("not json",)),
    "deep list": Hostile(
        "def f(given):\n    x = []\n    for _ in range(10**5):\n        x = [x]\n    return x", ("not json",)
    ),
    "list a bit too deep": Hostile(
        "def f(given):\n    x = []\n    for _ in range(500):\n        x = [x]\n    return x", ("not json",)
    ),
    "list in itself": Hostile("def f(given):\n    x = []\n    x.append(x)\n    return x", ("not json",)),
    "deep answer": Hostile("import os\ndef f(given):\n    os.write(3, b'[' * 60000)\n    os._exit(0)", ("not json",)),
    "nan": Hostile("def f(given):\n    return float('nan')", ("not json",)),
    "infinite answer": Hostile(
        "import os\ndef f(given):\n    os.write(3, b'{\"value\": 1e999}')\n    os._exit(0)", ("crashed",)
    ),
    "generator": Hostile("import itertools\ndef f(given):\n    return itertools.count()", ("not json",)),
    "equal to everything": Hostile(
        "class Yes:\n    def __eq__(self, other):\n        return True\ndef f(given):\n    return Yes()", ("not json",)
    ),
    "number equal to everything": Hostile(
        "class Yes(int):\n    def __eq__(self, other):\n        return True\ndef f(given):\n    return Yes(7)",
        values=(7,),
    ),
    "own error": Hostile(
        'import os\ndef f(given):\n    os.write(3, b\'{"error": "passed"}\')\n    os._exit(0)', ("crashed",)
    ),
    "pass mark": Hostile(
        """import os, sys
def f(given):
    print('PASS')
    sys.stderr.write('all tests passed')
    os.write(3, b'{"value": "PASS"}')
    os._exit(0)""",
        values=("PASS",),
    ),
    "changed json": Hostile(
        "import json\njson.dumps = lambda *args, **more: '{\"value\": true}'\ndef f(given):\n    return 1",
        values=(True,),
    ),
    "changed builtins": Hostile(
        """import builtins, sys
for name in ('len', 'str', 'isinstance', 'callable', 'getattr', 'type', 'compile', 'open'):
    setattr(builtins, name, lambda *args, **more: True)
sys.modules.clear()
def f(given):
    return 1""",
        ("crashed", "exception"),
        values=(1, True),
    ),
    "walk the frames": Hostile(
        """import sys
def f(given):
    frame = sys._getframe()
    while frame:
        for name in list(frame.f_locals):
            frame.f_locals[name] = True
        frame = frame.f_back
    return 1""",
        ("crashed", "exception"),
        values=(1, True),
    ),
    # programs that are no programs
    "brackets": Hostile("(" * 10**5, ("syntax", "memory")),
    "many signs": Hostile("x = " + "-" * 10**5 + "1", ("syntax", "memory", "crashed", "exception")),
    "null character": Hostile("def f(given):\n    return '\0'", ("syntax",)),
    "half a character": Hostile("def f(given):\n    return '\ud800'", ("syntax",)),
    "no function": Hostile("def g(given):\n    return 1", ("no function",)),
    "no callable": Hostile("f = 1", ("no function",)),
    "empty": Hostile("", ("no function",)),
    "input": Hostile("def f(given):\n    return input()", ("exception",)),
    # what stays
    "a thread after the answer": Hostile(
        """import threading
def work():
    while True:
        open('left', 'a').write('x')
def f(given):
    threading.Thread(target=work).start()
    return 1""",
        values=(1,),
    ),
    "earlier programs in memory": Hostile(
        """import gc
def f(given):
    earlier = ''.join(['given', "['num", "ber'] + 1"])  # of the good program
    found = []
    for thing in gc.get_objects():
        inside = list(thing.values()) if isinstance(thing, dict) else thing if isinstance(thing, (list, tuple)) else []
        found += [text for text in inside if isinstance(text, (str, bytes)) and earlier in str(text)]
    return len(found)""",
        values=(0,),
    ),
    "a daemon after the answer": Hostile(
        """import os, time
def f(given):
    if not os.fork():
        os.setsid()
        if not os.fork():
            while True:
                open('/tmp/left', 'a').write('x')
                os.write(3, b'{"value": 2}')
        os._exit(0)
    return 1""",
        ("crashed",),
        values=(1, 2),
    ),
}
GOOD = "def f(given):\n    import os\n    return [given['number'] + 1, os.listdir('.')]"


@contextlib.contextmanager
def surroundings() -> Iterator[dict[str, Any]]:
    """What the programs look for: a file, a TCP port and an abstract socket. They get no connection."""
    with (
        tempfile.TemporaryDirectory() as folder,
        socket.create_server(("127.0.0.1", 0)) as tcp,
        socket.socket(socket.AF_UNIX) as unix,
    ):
        Path(folder).chmod(0o755)
        (Path(folder) / "secret").write_text(UNREAD)
        unix.bind(f"\0{folder}")
        unix.listen()
        yield {
            "file": str(Path(folder) / "secret"),
            "port": tcp.getsockname()[1],
            "name": folder,
            "number": 41,
        }
        for server in (tcp, unix):
            server.setblocking(False)
            with contextlib.suppress(BlockingIOError):
                raise AssertionError(f"a program reached {server.accept()}")


def uncontained(name: str, sandbox: Sandbox, given: dict[str, Any]) -> str:
    """Run one program and then a good one in the same sandbox; what went wrong, or an empty text."""
    hostile = PROGRAMS[name]
    (outcome,) = sandbox.run(hostile.code, "f", [[given]], LIMITS)
    (good,) = sandbox.run(GOOD, "f", [[given]], LIMITS)
    allowed = outcome.error in hostile.errors if outcome.error else outcome.value in hostile.values
    if not allowed or UNREAD in str(outcome) or len(outcome.detail) > 300 or not outcome.detail.isprintable():
        return f"{name}: {outcome}"
    return "" if good == CallOutcome([42, []]) else f"{name}, then a good program: {good}"


def main() -> None:
    with Sandbox() as sandbox, surroundings() as given:
        for name in PROGRAMS:
            print(uncontained(name, sandbox, given) or f"contained: {name}", flush=True)


if __name__ == "__main__":
    main()
