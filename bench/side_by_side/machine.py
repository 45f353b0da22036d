# SPDX-License-Identifier: Apache-2.0
"""machine.py: processes, cores and what the kernel knows of them.

    children.start(argv, core) ─► a process group of its own, pinned, that dies with us
    children.end(child)        ─► SIGTERM, a moment, SIGKILL to the group: nothing of it is left

Only processes started here are ever ended, by the id of their group, while their leader is not yet reaped: that id cannot
meanwhile belong to somebody else. An interrupted run ends them all (Children.end_all).
"""
import os
import platform
import resource
import shutil
import signal
import socket
import subprocess
import time

END_S = 5  # to leave after SIGTERM
PORT_FROM, PORT_TO = 20000, 30000  # below the range the kernel takes ports of outgoing connections from


class Children:
    """The processes we have started and not yet ended."""

    def __init__(self):
        self.alive = []

    def start(self, argv, core=None, env=None, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL):
        pin = [] if core is None else ["taskset", "-c", str(core)]
        child = subprocess.Popen(["setpriv", "--pdeathsig", "KILL"] + pin + argv, env=env, stdin=subprocess.DEVNULL,
                                 stdout=stdout, stderr=stderr, start_new_session=True)
        self.alive.append(child)
        return child

    def end(self, child, patience_s=END_S):
        """Returns the exit code; below 0: ended by that signal."""
        signal_group(child, signal.SIGCONT)
        signal_group(child, signal.SIGTERM)
        deadline = time.monotonic() + patience_s
        while not has_left(child) and time.monotonic() < deadline:
            time.sleep(0.005)
        signal_group(child, signal.SIGKILL)
        child.wait()
        self.alive.remove(child)
        return child.returncode

    def end_all(self):
        for child in list(self.alive):
            self.end(child, patience_s=0.2)


def has_left(child):
    """Whether it has ended, without reaping it."""
    if child.returncode is not None:
        return True
    return os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT | os.WNOHANG) is not None


def signal_group(child, number):
    if child.returncode is None:
        try:
            os.killpg(child.pid, number)
        except ProcessLookupError:
            pass


class Ports:
    """Free loopback ports, each handed out once, so that no run meets the closed connections of another."""

    def __init__(self):
        self.next = PORT_FROM + os.getpid() % 3000

    def take(self):
        while self.next < PORT_TO:
            self.next += 1
            with socket.socket() as probe:
                try:
                    probe.bind(("127.0.0.1", self.next))
                except OSError:
                    continue
            return self.next
        raise RuntimeError("no free port between %d and %d" % (PORT_FROM, PORT_TO))


def cores():
    """(generator's core, broker's core); (None, None) when there is only one: then nothing is pinned."""
    mine = sorted(os.sched_getaffinity(0))
    return (mine[0], mine[1]) if len(mine) > 1 else (None, None)


def raise_file_limit():
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return hard


# ------------------------------------------------------------------------------------------------ /proc

def read_text(path):
    with open(path, encoding="utf-8", errors="replace") as file:
        return file.read()


def memory(pid):
    """{"rss_bytes", "rss_anon_bytes"} of a process."""
    fields = dict(line.split(":", 1) for line in read_text("/proc/%d/status" % pid).splitlines() if ":" in line)
    return {"rss_bytes": int(fields["VmRSS"].split()[0]) * 1024,
            "rss_anon_bytes": int(fields["RssAnon"].split()[0]) * 1024}


def cpu_seconds(pid):
    """User and system time of a process so far."""
    fields = read_text("/proc/%d/stat" % pid).rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def busy_seconds():
    """What all processors together have worked so far, for anybody, the hypervisor's other guests included."""
    user, nice, system, _idle, _wait, irq, softirq, steal = map(int, read_text("/proc/stat").split()[1:9])
    return (user + nice + system + irq + softirq + steal) / os.sysconf("SC_CLK_TCK")


def first_value(path, key, separator):
    for line in read_text(path).splitlines():
        if line.split(separator)[0].strip() == key:
            return line.split(separator, 1)[1].strip().strip('"')
    return "unknown"


def describe():
    """What a reader must know of this machine."""
    return {
        "processor": first_value("/proc/cpuinfo", "model name", ":"),
        "cores": len(os.sched_getaffinity(0)),
        "memory_gib": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2 ** 30),
        "kernel": platform.release(),
        "system": first_value("/etc/os-release", "PRETTY_NAME", "="),
        "open_files": resource.getrlimit(resource.RLIMIT_NOFILE)[1],
    }


def find_program(name):
    """Its path; Debian keeps daemons in /usr/sbin, which is not on everybody's PATH."""
    return shutil.which(name) or shutil.which(name, path="/usr/sbin:/usr/local/sbin:/sbin")
