"""The system calls that no program in a sandbox may make, as a filter that the kernel runs (seccomp, classic BPF).

Namespaces hide files, processes and the network. The filter refuses what they leave: namespaces of a program's own, and
parts of the kernel that a program does not need; sockets of other kinds than AF_UNIX (AF_VSOCK reaches the host of a
virtual machine from every network namespace); memory that outlives a program or that no limit counts; changes of the
supervisor's limits and priority.

The Python bindings of libseccomp need the system's library, and those without it are young; a list of this length is
one loop. The numbers are those of the kernel's headers (asm/unistd_64.h, asm-generic/unistd.h).
"""

import errno
import platform
import socket
import struct

DENIED = {
    # namespaces and mounts: (x86_64, aarch64)
    "unshare": (272, 97),
    "setns": (308, 268),
    "mount": (165, 40),
    "umount2": (166, 39),
    "pivot_root": (155, 41),
    "chroot": (161, 51),
    "open_tree": (428, 428),
    "move_mount": (429, 429),
    "fsopen": (430, 430),
    "fsmount": (432, 432),
    "fspick": (433, 433),
    "mount_setattr": (442, 442),
    # other processes
    "ptrace": (101, 117),
    "process_vm_readv": (310, 270),
    "process_vm_writev": (311, 271),
    "kcmp": (312, 272),
    "pidfd_getfd": (438, 438),
    "process_madvise": (440, 440),
    "setpriority": (141, 140),
    "sched_setparam": (142, 118),
    "sched_setscheduler": (144, 119),
    "sched_setaffinity": (203, 122),
    "sched_setattr": (314, 274),
    "ioprio_set": (251, 30),
    "migrate_pages": (256, 238),
    "move_pages": (279, 239),
    # memory and messages that outlive a program, or that no limit counts
    "shmget": (29, 194),
    "semget": (64, 190),
    "msgget": (68, 186),
    "mq_open": (240, 180),
    "memfd_create": (319, 279),
    "memfd_secret": (447, 447),
    "add_key": (248, 217),
    "request_key": (249, 218),
    "keyctl": (250, 219),
    # large parts of the kernel
    "bpf": (321, 280),
    "perf_event_open": (298, 241),
    "userfaultfd": (323, 282),
    "io_uring_setup": (425, 425),
    "io_uring_enter": (426, 426),
    "io_uring_register": (427, 427),
}
CLONE, CLONE3, SOCKET, PRLIMIT64 = (56, 220), (435, 435), (41, 198), (302, 261)
MACHINES = {"x86_64": (0, 0xC000003E), "aarch64": (1, 0xC00000B7)}
"""The column of the numbers above, and the kernel's name of the machine."""
NEW_NAMESPACES = 0x7E020000
"""The flags of clone that make a namespace."""
X32 = 0x40000000
"""The first number of another set of calls on x86_64."""

LOAD, EQUAL, AT_LEAST, ANY_BIT, RETURN = 0x20, 0x15, 0x35, 0x45, 0x06
NUMBER, ARCHITECTURE, FIRST_ARGUMENT = 0, 4, 16
ALLOW, FAIL = 0x7FFF0000, 0x00050000


def program(machine: str = platform.machine()) -> bytes:
    """The filter for bubblewrap's `--seccomp`; empty on a machine whose numbers are not listed here."""
    if machine not in MACHINES:
        return b""
    column, architecture = MACHINES[machine]
    refuse = (RETURN, 0, 0, FAIL | errno.EPERM)
    code = [(LOAD, 0, 0, ARCHITECTURE), (EQUAL, 1, 0, architecture), refuse, (LOAD, 0, 0, NUMBER)]
    if machine == "x86_64":
        code += [(AT_LEAST, 0, 1, X32), refuse]
    for numbers in DENIED.values():
        code += [(EQUAL, 0, 1, numbers[column]), refuse]
    # "No such call": then the C library uses clone, whose flags a filter can see.
    code += [(EQUAL, 0, 1, CLONE3[column]), (RETURN, 0, 0, FAIL | errno.ENOSYS)]
    code += _unless(CLONE[column], (ANY_BIT, 1, 0, NEW_NAMESPACES))
    code += _unless(SOCKET[column], (EQUAL, 0, 1, socket.AF_UNIX))
    code += _unless(PRLIMIT64[column], (EQUAL, 0, 1, 0))  # 0: the caller itself
    code += [(RETURN, 0, 0, ALLOW)]
    return b"".join(struct.pack("=HBBI", *instruction) for instruction in code)


def _unless(number: int, test: tuple[int, int, int, int]) -> list[tuple[int, int, int, int]]:
    """Call `number` is refused unless `test` of its first argument goes to the next instruction."""
    return [
        (EQUAL, 0, 4, number),
        (LOAD, 0, 0, FIRST_ARGUMENT),
        test,
        (RETURN, 0, 0, ALLOW),
        (RETURN, 0, 0, FAIL | errno.EPERM),
    ]
