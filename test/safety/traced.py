"""Runs the program under strace and tells what it did beyond its promise."""
import os
import re
import resource
import subprocess
import time
from typing import NamedTuple

SECONDS = 20  # of processor time for one command on one file: that does not depend on what else the machine does
PATIENCE = 300  # seconds until a command that does nothing is taken for one that hangs
MEBIBYTES = 500  # of resident memory

# The file and network calls by their classes, so that a call with a new number is seen too.
# Only these calls stop the program (--seccomp-bpf): the others run at full speed.
CALLS = "trace=%process,%file,%network"
STARTS = ("fork", "vfork", "execve", "execveat")
CHANGES = ("creat", "mkdir", "mkdirat", "mknod", "mknodat", "rename", "renameat", "renameat2", "unlink", "unlinkat", "rmdir", "link",
           "linkat", "symlink", "symlinkat", "truncate", "chmod", "fchmodat", "fchmodat2", "chown", "lchown", "fchownat", "utime",
           "utimes", "utimensat", "futimesat", "setxattr", "lsetxattr", "removexattr", "lremovexattr", "mount", "umount2", "chroot",
           "pivot_root", "swapon", "acct", "chdir")
OPENS = ("open", "openat", "openat2")
NETWORK = ("socket", "socketpair", "connect", "bind", "listen", "accept", "accept4", "sendto", "sendmsg", "sendmmsg", "recvfrom",
           "recvmsg", "recvmmsg")
# What the Go runtime reads, wherever the program runs.
SYSTEM = ("/proc/self/", "/proc/sys/", "/sys/", "/dev/null", "/etc/localtime", "/usr/share/zoneinfo/", "/etc/ld.so", "/lib", "/usr/lib",
          "/proc/filesystems", "/etc/machine-id")  # the last one by rs/xid, below minio-go, when it is loaded

# What is seen of other processes, to tell who writes: nothing of their memory or of their files.
PROCESSES = re.compile(r"/proc(/\d+(/(stat|comm|status|cgroup|environ|fd|fdinfo(/\d+)?))?)?")

LINE = re.compile(r"^(?:\d+ +)?(?P<call>\w+)\((?P<rest>.*)$")
PATH = re.compile(r'(?:(?:AT_FDCWD|\d+)(?:<(?P<base>[^>]*)>)?, )?"(?P<path>(?:[^"\\]|\\.)*)"')


class Result(NamedTuple):
    code: int
    out: str
    err: str
    seconds: float
    mebibytes: float
    broken: list  # promises, as sentences


def run(argv, cwd, writable, readable, environment=None):
    """Run a command under strace. It may change what is below `writable`, and read that, what is below `readable`, and
    its own program: a library of the metrics takes a digest of it when it starts."""
    log = os.path.join(cwd, ".trace")
    begin = time.monotonic()
    with open(os.path.join(cwd, ".out"), "wb+") as out, open(os.path.join(cwd, ".err"), "wb+") as err:
        child = subprocess.Popen(["strace", "--seccomp-bpf", "-f", "-qq", "-y", "-s", "4096", "-e", CALLS, "-e", "signal=none", "-o", log, *argv],
                                 cwd=cwd, stdin=subprocess.DEVNULL, stdout=out, stderr=err, env=environment, start_new_session=True)
        timed_out, status, usage = wait(child, begin + PATIENCE)
        texts = []
        for f in (out, err):
            f.seek(0)
            texts.append(f.read().decode(errors="replace"))
    seconds, mebibytes = usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024
    broken = list(breaches(log, cwd, writable, [*readable, argv[0]]))
    if timed_out:
        broken.append(f"it did not end within {PATIENCE} s")
    elif seconds > SECONDS:
        broken.append(f"it took {seconds:.0f} s of processor time")
    elif os.WIFSIGNALED(status) or os.waitstatus_to_exitcode(status) not in (0, 1, 3):
        broken.append(f"it ended with status {status}: {texts[1][-300:]}")
    if mebibytes > MEBIBYTES:
        broken.append(f"it took {mebibytes:.0f} MiB of memory")
    code = -1 if os.WIFSIGNALED(status) else os.waitstatus_to_exitcode(status)
    return Result(code, *texts, seconds, mebibytes, broken)


def wait(child, deadline):
    """Wait for a child and its resources; past the deadline its process group is killed."""
    timed_out = False
    while True:
        pid, status, usage = os.wait4(child.pid, os.WNOHANG)
        if pid:
            child.returncode = status
            return timed_out, status, usage
        if time.monotonic() > deadline and not timed_out:
            timed_out = True
            os.killpg(child.pid, 9)
        time.sleep(0.002)


def breaches(log, cwd, writable, readable):
    """The calls of a trace that break a promise."""
    started = 0
    with open(log, errors="replace") as lines:
        for line in lines:
            match = LINE.match(line)
            if not match:
                continue
            call, rest = match["call"], match["rest"]
            if call in STARTS:
                started += 1
                if started > 1 or call != "execve":
                    yield f"it started a program: {line.strip()}"
            elif call in ("clone", "clone3"):
                if "CLONE_THREAD" not in rest:
                    yield f"it started a process: {line.strip()}"
            elif call in NETWORK:
                yield f"it used the network: {line.strip()}"
            elif call in CHANGES or (call in OPENS and re.search(r"O_(WRONLY|RDWR|CREAT|TRUNC|TMPFILE)\b", rest)):
                if not below(paths(rest, cwd), writable):
                    yield f"it changed something: {line.strip()}"
            elif call in OPENS and not (below(paths(rest, cwd), [*writable, *readable, *SYSTEM]) or of_processes(paths(rest, cwd))):
                yield f"it read something: {line.strip()}"
    if started != 1:
        yield f"the trace has {started} program starts instead of one"


def paths(rest, cwd):
    """The absolute paths among the arguments of a call."""
    arguments = rest.rsplit(") = ", 1)[0]
    return [os.path.normpath(os.path.join(m["base"] or cwd, m["path"])) for m in PATH.finditer(arguments)]


def below(found, folders):
    return bool(found) and all(any(p == f.rstrip("/") or p.startswith(f.rstrip("/") + "/") or (f in SYSTEM and p.startswith(f))
                                   for f in folders) for p in found)


def of_processes(found):
    return bool(found) and all(PROCESSES.fullmatch(p) for p in found)


def own_limits():
    """Core files off for what is started from here."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
