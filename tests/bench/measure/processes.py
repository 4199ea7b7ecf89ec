"""Processes on a core of their own, and what the kernel knows about them."""

import ctypes
import json
import os
import pathlib
import re
import selectors
import signal
import socket
import subprocess
import time

PROXY_CORE = 0
LOAD_CORE = 1
START_SECONDS_MAX = 20
STOP_SECONDS_MAX = 5
PR_SET_PDEATHSIG = 1
LIBC = ctypes.CDLL(None)


class Failure(Exception):
    """Something could not be measured; the text says what and why."""


def child_setup(core):
    def setup():
        cores = os.sched_getaffinity(0)
        if core in cores:
            os.sched_setaffinity(0, {core})
        LIBC.prctl(PR_SET_PDEATHSIG, signal.SIGKILL)

    return setup


class Process:
    """A program with its output in a file; ended by stop() or with the `with` statement."""

    def __init__(self, words, core, log_path, stdin=subprocess.DEVNULL, stdout=None, env=None):
        self.log_path = pathlib.Path(log_path)
        with open(self.log_path, "wb") as log:
            self.popen = subprocess.Popen(
                [str(word) for word in words], stdin=stdin, stdout=stdout or log, stderr=log,
                env={**os.environ, **(env or {})}, preexec_fn=child_setup(core))

    @property
    def pid(self):
        return self.popen.pid

    def log(self):
        return self.log_path.read_text(errors="replace")

    def listening(self, name):
        """The port that the program says to listen on under `name`."""
        found = self.wait_for(lambda: re.search(rf"listening {name} \S*:(\d+)", self.log()))
        return int(found.group(1))

    def accepting(self, port):
        self.wait_for(lambda: can_connect(port))
        return port

    def wait_for(self, condition):
        end = time.monotonic() + START_SECONDS_MAX
        while time.monotonic() < end:
            result = condition()
            if result:
                return result
            if self.popen.poll() is not None:
                break
            time.sleep(0.02)
        last = self.log().strip().splitlines()[-3:]
        raise Failure(f"{self.popen.args[0]} did not come up: {' / '.join(last) or 'no message'}")

    def stop(self):
        if self.popen.poll() is None:
            self.popen.terminate()
            try:
                self.popen.wait(STOP_SECONDS_MAX)
            except subprocess.TimeoutExpired:
                self.popen.kill()
                self.popen.wait()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.stop()


class Load(Process):
    """bench_load, whose lines are JSON."""

    def __init__(self, binary, mode, words, log_path):
        super().__init__([binary, mode, "--json", *words], LOAD_CORE, log_path,
                         stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        self.buffer = b""

    def line(self, seconds):
        """The next line, or a Failure after so long."""
        end = time.monotonic() + seconds
        with selectors.DefaultSelector() as selector:
            selector.register(self.popen.stdout, selectors.EVENT_READ)
            while b"\n" not in self.buffer:
                if not selector.select(max(0, end - time.monotonic())):
                    raise Failure(f"the load generator said nothing for {seconds} s")
                part = os.read(self.popen.stdout.fileno(), 1 << 16)
                if not part:
                    raise Failure(f"the load generator ended: {self.log().strip()}")
                self.buffer += part
        text, self.buffer = self.buffer.split(b"\n", 1)
        return json.loads(text)

    def event(self, name, seconds):
        line = self.line(seconds)
        if line.get("event") != name:
            raise Failure(f"the load generator failed: {line.get('first_error', line)}")
        return line

    def report(self, seconds):
        while True:
            line = self.line(seconds)
            if "event" not in line:
                self.popen.wait(STOP_SECONDS_MAX)
                return line

    def end_input(self):
        self.popen.stdin.close()


def can_connect(port):
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def free_port():
    """A port for programs that cannot take a free one themselves."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def tree(pid):
    """A process and its descendants."""
    parents = {}
    for path in pathlib.Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = path.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        parents.setdefault(int(fields[1]), []).append(int(path.parent.name))
    pids = [pid]
    for known in pids:
        pids.extend(parents.get(known, []))
    return pids


def pss_kib(pid):
    """Proportional set size of a process and its descendants."""
    total = 0
    for member in tree(pid):
        text = pathlib.Path(f"/proc/{member}/smaps_rollup").read_text()
        total += int(re.search(r"^Pss:\s+(\d+) kB", text, re.M).group(1))
    return total


def count_calls(pid, during, log_path):
    """System calls of a process tree while `during()` runs, by name: {name: (calls, errors)}."""
    words = ["strace", "-c", "-f", "-o", str(log_path) + ".counts"]
    members = tree(pid)
    for member in members:
        words += ["-p", str(member)]
    with Process(words, LOAD_CORE, log_path) as strace:
        strace.wait_for(lambda: strace.log().count(" attached") >= len(members))
        during()
        strace.popen.send_signal(signal.SIGINT)
        strace.popen.wait(STOP_SECONDS_MAX)
    calls = {}
    for line in pathlib.Path(str(log_path) + ".counts").read_text().splitlines():
        match = re.match(r"\s*[\d.]+\s+[\d.]+\s+\d+\s+(\d+)\s+(\d*)\s*(\w+)$", line)
        if match and match.group(3) != "total":
            calls[match.group(3)] = (int(match.group(1)), int(match.group(2) or 0))
    return calls
