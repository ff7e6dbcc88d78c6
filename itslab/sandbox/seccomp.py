"""The system calls that a program may make, as a seccomp filter (linux/seccomp.h).

What is not on the list does not exist (ENOSYS), whatever a later kernel adds: no further name
spaces, mounts, keys, processes, sockets, shared memory, tracing, performance counters, io_uring.
Calls of a foreign architecture, x32 on x86_64 included, are not on the list either. Numbers are
those of asm/unistd_64.h and asm-generic/unistd.h; a name without a second one is x86_64's alone.
"""

from __future__ import annotations

import platform
import struct
from collections.abc import Iterator

ALLOWED = """
read:0:63 write:1:64 readv:19:65 writev:20:66 pread64:17:67 pwrite64:18:68 open:2 openat:257:56
close:3:57 close_range:436:436 stat:4 fstat:5:80 lstat:6 newfstatat:262:79 statx:332:291
statfs:137:43 fstatfs:138:44 lseek:8:62 mmap:9:222 mprotect:10:226 munmap:11:215 mremap:25:216
brk:12:214 madvise:28:233 membarrier:324:283 rt_sigaction:13:134 rt_sigprocmask:14:135
rt_sigreturn:15:139 rt_sigpending:127:136 rt_sigtimedwait:128:137 rt_sigsuspend:130:133
sigaltstack:131:132 access:21 faccessat:269:48 faccessat2:439:439 pipe:22 pipe2:293:59 select:23
pselect6:270:72 poll:7 ppoll:271:73 epoll_create:213 epoll_create1:291:20 epoll_ctl:233:21
epoll_wait:232 epoll_pwait:281:22 eventfd2:290:19 dup:32:23 dup2:33 dup3:292:24 nanosleep:35:101
clock_nanosleep:230:115 getitimer:36:102 setitimer:38:103 alarm:37 pause:34 getpid:39:172
getppid:110:173 gettid:186:178 getuid:102:174 geteuid:107:175 getgid:104:176 getegid:108:177
getgroups:115:158 getpgrp:111 getpgid:121:155 getsid:124:156 uname:63:160 fsync:74:82
fdatasync:75:83 truncate:76:45 ftruncate:77:46 getdents:78 getdents64:217:61 getcwd:79:17
chdir:80:49 fchdir:81:50 rename:82 renameat:264:38 renameat2:316:276 mkdir:83 mkdirat:258:34
rmdir:84 creat:85 unlink:87 unlinkat:263:35 readlink:89 readlinkat:267:78 chmod:90 fchmod:91:52
fchmodat:268:53 umask:95:166 utimensat:280:88 gettimeofday:96:169 time:201 times:100:153
clock_gettime:228:113 clock_getres:229:114 getrusage:98:165 getrlimit:97:163 setrlimit:160:164
prlimit64:302:261 sysinfo:99:179 arch_prctl:158 set_tid_address:218:96 set_robust_list:273:99
futex:202:98 sched_yield:24:124 sched_getaffinity:204:123 getcpu:309:168 exit:60:93
exit_group:231:94 kill:62:129 tkill:200:130 tgkill:234:131 wait4:61:260 restart_syscall:219:128
getrandom:318:278 rseq:334:293 execve:59:221 sendto:44:206 recvfrom:45:207 shutdown:48:210
getsockname:51:204 getpeername:52:205 getsockopt:55:209 setsockopt:54:208 sendfile:40:71
copy_file_range:326:285
"""
# Calls of which only some uses are allowed, by a number among their arguments.
_CLONE, _SOCKETPAIR, _IOCTL, _FCNTL = (56, 220), (53, 199), (16, 29), (72, 25)
_TERMINAL = (0x5401, 0x5413, 0x541B, 0x5421, 0x5450, 0x5451)  # TCGETS … FIOCLEX (asm/ioctls.h)
_DESCRIPTOR = (0, 1, 2, 3, 4, 1030)  # F_DUPFD … F_DUPFD_CLOEXEC: no locks, leases, pipe sizes
_UNIX = 1  # AF_UNIX: a pair that is connected to itself, as asyncio needs one
_THREAD, _NAMESPACES = 0x00010000, 0x7E020000  # CLONE_THREAD, CLONE_NEW… (linux/sched.h)

_ARCHITECTURES = {"x86_64": (0xC000003E, 0), "aarch64": (0xC00000B7, 1)}  # AUDIT_ARCH_…, column
_LOAD, _EQUAL, _ABOVE, _FROM, _BIT, _GIVE = 0x20, 0x15, 0x25, 0x35, 0x45, 0x06  # linux/filter.h
_ALLOW, _ABSENT = 0x7FFF0000, 0x00050026  # SECCOMP_RET_ALLOW; SECCOMP_RET_ERRNO with ENOSYS

Step = tuple[int, int, int, int]  # operation, steps to skip if it holds, if not, number


def known() -> bool:
    """Whether there is a filter for this machine's architecture."""
    return platform.machine() in _ARCHITECTURES


def numbers(column: int) -> list[int]:
    """The calls that are allowed whatever their arguments; 0: of x86_64, 1: of aarch64."""
    entries = [entry.split(":")[1:] for entry in ALLOWED.split()]
    return sorted(int(entry[column]) for entry in entries if len(entry) > column)


def program(machine: str | None = None) -> bytes:
    """Return the filter in classic BPF."""
    architecture, column = _ARCHITECTURES[machine or platform.machine()]
    steps: list[Step] = [
        (_LOAD, 0, 0, 4),  # the architecture
        (_EQUAL, 1, 0, architecture),
        (_GIVE, 0, 0, _ABSENT),
        (_LOAD, 0, 0, 0),  # the number of the call
    ]
    for low, high in _ranges(numbers(column)):
        steps += [(_FROM, 0, 2, low), (_ABOVE, 1, 0, high), (_GIVE, 0, 0, _ALLOW)]
    one_of = {_SOCKETPAIR: (0, (_UNIX,)), _IOCTL: (1, _TERMINAL), _FCNTL: (1, _DESCRIPTOR)}
    for call, (argument, values) in one_of.items():
        test: list[Step] = [(_LOAD, 0, 0, 16 + 8 * argument)]
        for value in values:
            test += [(_EQUAL, 0, 1, value), (_GIVE, 0, 0, _ALLOW)]
        steps += _only(call[column], test)
    thread = [(_LOAD, 0, 0, 16), (_BIT, 2, 0, _NAMESPACES), (_BIT, 0, 1, _THREAD)]
    steps += _only(_CLONE[column], [*thread, (_GIVE, 0, 0, _ALLOW)])
    steps.append((_GIVE, 0, 0, _ABSENT))
    return b"".join(struct.pack("HBBI", *step) for step in steps)


def _only(call: int, test: list[Step]) -> list[Step]:
    """Steps that are taken for one call alone; it is absent if they come to no end."""
    return [(_EQUAL, 0, len(test) + 1, call), *test, (_GIVE, 0, 0, _ABSENT)]


def _ranges(numbers: list[int]) -> Iterator[tuple[int, int]]:
    low = high = numbers[0]
    for number in numbers[1:]:
        if number != high + 1:
            yield low, high
            low = number
        high = number
    yield low, high
