"""A filter of system calls that nothing here needs and that widen what a process can reach.

Written as classic BPF by hand: one list of numbers per architecture, and a jump for each. A call on
the list answers EPERM; clone3 answers ENOSYS (its flags lie in memory that a filter cannot read),
so that the C library falls back to clone, whose flags are looked at. An architecture without a list
gets no filter, and says so.
"""

import ctypes
import os
import struct

# name: (x86_64, aarch64); None where the architecture has no such call.
# Numbers of arch/x86/entry/syscalls/syscall_64.tbl and include/uapi/asm-generic/unistd.h.
DENIED: dict[str, tuple[int, int | None]] = {
    "ptrace": (101, 117),
    "process_vm_readv": (310, 270),
    "process_vm_writev": (311, 271),
    "pidfd_getfd": (438, 438),
    "kcmp": (312, 272),
    "mount": (165, 40),
    "umount2": (166, 39),
    "pivot_root": (155, 41),
    "chroot": (161, 51),
    "move_mount": (429, 429),
    "open_tree": (428, 428),
    "fsopen": (430, 430),
    "fsconfig": (431, 431),
    "fsmount": (432, 432),
    "fspick": (433, 433),
    "mount_setattr": (442, 442),
    "unshare": (272, 97),
    "setns": (308, 268),
    "open_by_handle_at": (304, 265),
    "name_to_handle_at": (303, 264),
    "bpf": (321, 280),
    "perf_event_open": (298, 241),
    "shmget": (29, 194),  # memory that no process need hold, so that nobody counts it
    "userfaultfd": (323, 282),
    "io_uring_setup": (425, 425),
    "io_uring_enter": (426, 426),
    "io_uring_register": (427, 427),
    "add_key": (248, 217),
    "request_key": (249, 218),
    "keyctl": (250, 219),
    "kexec_load": (246, 104),
    "kexec_file_load": (320, 294),
    "init_module": (175, 105),
    "finit_module": (313, 273),
    "delete_module": (176, 106),
    "reboot": (169, 142),
    "swapon": (167, 224),
    "swapoff": (168, 225),
    "acct": (163, 89),
    "quotactl": (179, 60),
    "syslog": (103, 116),
    "settimeofday": (164, 170),
    "clock_settime": (227, 112),
    "iopl": (172, None),
    "ioperm": (173, None),
}
ARCHITECTURES = {"x86_64": (0, 0xC000003E), "aarch64": (1, 0xC00000B7)}
CLONE = (56, 220)
CLONE3 = 435
NEW_NAMESPACES = 0x7E020080  # CLONE_NEW{USER,NS,PID,NET,IPC,UTS,CGROUP,TIME}
X32 = 0x40000000  # x86's second table of the same calls

LOAD, JUMP_EQUAL, JUMP_AT_LEAST, JUMP_ANY_BIT, RETURN = 0x20, 0x15, 0x35, 0x45, 0x06
NUMBER, ARCHITECTURE, FIRST_ARGUMENT = 0, 4, 16
ALLOW, ERRNO, KILL = 0x7FFF0000, 0x00050000, 0x80000000
EPERM, ENOSYS = 1, 38
PR_SET_NO_NEW_PRIVS, PR_SET_SECCOMP, SECCOMP_MODE_FILTER = 38, 22, 2


def program(machine: str) -> bytes:
    """The filter for an architecture of ARCHITECTURES, as the kernel takes it."""
    column, audit = ARCHITECTURES[machine]
    lines = [
        _line(LOAD, ARCHITECTURE),
        _line(JUMP_EQUAL, audit, yes=1),
        _line(RETURN, KILL),
        _line(LOAD, NUMBER),
    ]
    if machine == "x86_64":
        lines += [_line(JUMP_AT_LEAST, X32, no=1), _line(RETURN, ERRNO | EPERM)]
    for numbers in DENIED.values():
        if (number := numbers[column]) is not None:
            lines += [_line(JUMP_EQUAL, number, no=1), _line(RETURN, ERRNO | EPERM)]
    lines += [_line(JUMP_EQUAL, CLONE3, no=1), _line(RETURN, ERRNO | ENOSYS)]
    lines += [_line(JUMP_EQUAL, CLONE[column], no=3), _line(LOAD, FIRST_ARGUMENT)]
    lines += [_line(JUMP_ANY_BIT, NEW_NAMESPACES, no=1), _line(RETURN, ERRNO | EPERM)]
    return b"".join([*lines, _line(RETURN, ALLOW)])


def _line(code: int, value: int, *, yes: int = 0, no: int = 0) -> bytes:
    return struct.pack("HBBI", code, yes, no, value)


def install() -> bool:
    """For this process and all that it starts, for good; False without a list for the machine.

    Raises OSError where the kernel refuses.
    """
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "no_new_privs")
    machine = os.uname().machine
    if machine not in ARCHITECTURES:
        return False
    code = program(machine)
    held = ctypes.create_string_buffer(code, len(code))
    head = struct.pack("HxxxxxxP", len(code) // 8, ctypes.addressof(held))
    if libc.prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, head, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "seccomp")
    return True
