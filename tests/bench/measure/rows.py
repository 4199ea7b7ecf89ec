"""What is measured. Each function takes the bench, its settings and the proxies' names, and gives a
Result for each proxy."""

import contextlib
import dataclasses
import shutil
import statistics
import sys
import time

import peers
from processes import Failure, Load, count_calls, pss_kib, tree

OPEN_SECONDS_MAX = 60
WARM_CONNECTIONS = 64
TRACED_CONNECTIONS = 64
TRACED_MESSAGES = (25, 75)  # on each connection, in the short and in the long run
RECEIVES = {"read", "readv", "recvfrom", "recvmsg", "recvmmsg"}
SENDS = {"write", "writev", "sendto", "sendmsg", "sendmmsg", "splice", "sendfile"}
WAITS = {"epoll_wait", "epoll_pwait", "epoll_pwait2", "poll", "select"}


@dataclasses.dataclass
class Settings:
    rounds: int
    seconds: float
    warmup: float
    idle_connections: int
    idle_rounds: int


FULL = Settings(rounds=5, seconds=3, warmup=0.5, idle_connections=4000, idle_rounds=3)
QUICK = Settings(rounds=3, seconds=1, warmup=0.3, idle_connections=1000, idle_rounds=1)


@dataclasses.dataclass
class Result:
    row: str
    proxy: str
    rounds: int = 0
    errors: int = 0
    first_error: str = ""
    cpu_us: list = dataclasses.field(default_factory=list)
    ratios: list = dataclasses.field(default_factory=list)
    p99_us: list = dataclasses.field(default_factory=list)
    kib: list = dataclasses.field(default_factory=list)
    calls: dict = dataclasses.field(default_factory=dict)

    def add_errors(self, report):
        self.errors += report["errors"]
        self.first_error = self.first_error or report.get("first_error", "")

    def fail(self, failure):
        self.errors += 1
        self.first_error = self.first_error or str(failure)


def target(bench, proxy):
    words = ["--port", proxy.port, "--path", peers.PATH, "--token", bench.token]
    return words + (["--tls", "--ca", bench.certificate()[0]] if proxy.tls else [])


def load(bench, proxy, mode, *words):
    return Load(bench.program("load"), mode, [*target(bench, proxy), *words],
                bench.folder("load") / "log")


def with_all(bench, names, results, stack, tls=False):
    """Starts the backend and the proxies; those that do not come up and serve get an error."""
    backend = stack.enter_context(bench.backend()).listening("backend")
    running = {}
    for name in names:
        try:
            proxy = stack.enter_context(peers.started(bench, name, backend, tls))
            try_out(bench, proxy)
            running[name] = proxy
        except Failure as failure:
            results[name].fail(failure)
    return running


def try_out(bench, proxy):
    """A few connections before all measuring: HAProxy, for one, reads better once it has seen a
    peer close."""
    with load(bench, proxy, "handshake", "--connections", 4, "--messages", 16) as client:
        report = client.report(OPEN_SECONDS_MAX)
    if report["errors"]:
        raise Failure(f"does not serve: {report['first_error']}")


def cpu_row(row, mode, connections, *words, tls=False):
    """CPU per round trip, from interleaved rounds."""
    return timed_row(row, "cpu_us", mode, "--connections", connections, *words, tls=tls)


def p99_row(row, rate, connections, *words):
    """The 99th percentile of round trips at a fixed rate, from interleaved rounds."""
    return timed_row(row, "p99_us", "rate", "--rate", rate, "--connections", connections, *words)


def timed_row(row, field, mode, *words, tls=False):
    def measure(bench, settings, names):
        results = {name: Result(row, name) for name in names}
        with contextlib.ExitStack() as stack:
            running = with_all(bench, names, results, stack, tls)
            for _ in range(settings.rounds):
                values = {}
                for name, proxy in running.items():
                    report = one_round(bench, settings, proxy, results[name], mode, *words)
                    values[name] = report.get(field)
                add_ratios(values, results, field)
        return list(results.values())

    return measure


def one_round(bench, settings, proxy, result, mode, *words):
    pids = ",".join(str(pid) for pid in tree(proxy.pid))
    try:
        with load(bench, proxy, mode, "--warmup", settings.warmup, "--seconds", settings.seconds,
                  "--cpu-of", pids, *words) as client:
            report = client.report(OPEN_SECONDS_MAX + settings.warmup + settings.seconds)
    except Failure as failure:
        result.fail(failure)
        return {}
    result.add_errors(report)
    print(".", end="", flush=True, file=sys.stderr)
    return report


def add_ratios(values, results, field):
    yardstick = values.get("relay")
    for name, value in values.items():
        if value:
            results[name].rounds += 1
            getattr(results[name], field).append(value)
            if yardstick:
                results[name].ratios.append(value / yardstick)


def idle_row(row, tls=False):
    """Memory of one idle connection that has carried a message. A few connections are open before
    and after, so that what a process allocates once is not counted."""

    def measure(bench, settings, names):
        results = {name: Result(row, name) for name in names}
        for _ in range(settings.idle_rounds):
            for name in names:
                with contextlib.ExitStack() as stack:
                    running = with_all(bench, [name], results, stack, tls)
                    try:
                        if name in running:
                            measure_idle(bench, settings, running[name], results[name], stack)
                    except Failure as failure:
                        results[name].fail(failure)
        return list(results.values())

    return measure


def measure_idle(bench, settings, proxy, result, stack):
    warm = stack.enter_context(load(bench, proxy, "idle", "--connections", WARM_CONNECTIONS,
                                    "--echo-first"))
    silence(warm)
    # As many load generators before as after: they share pages with the proxy.
    with load(bench, proxy, "idle", "--connections", 1, "--echo-first") as stand_in:
        silence(stand_in)
        before = pss_kib(proxy.pid)
    many = stack.enter_context(load(bench, proxy, "idle", "--connections",
                                    settings.idle_connections, "--echo-first"))
    silence(many)
    after = pss_kib(proxy.pid)
    for client in (many, warm):
        client.end_input()
        result.add_errors(client.report(OPEN_SECONDS_MAX))
    result.kib.append((after - before) / settings.idle_connections)
    result.rounds += 1
    print(".", end="", flush=True, file=sys.stderr)


def silence(client):
    client.event("open", OPEN_SECONDS_MAX)
    client.event("idle", OPEN_SECONDS_MAX)
    time.sleep(1)  # what a proxy frees after a moment is freed


def process_row(bench, settings, names):
    """Memory of a process that has served nothing yet; `process-managed`: under a control plane."""
    results = []
    for name in names:
        result = Result("process", name)
        results.append(result)
        with contextlib.ExitStack() as stack:
            backend = stack.enter_context(bench.backend()).listening("backend")
            add_pss(result, stack, peers.started(bench, name, backend))
    if "sluice" in names:
        result = Result("process-managed", "sluice")
        results.append(result)
        with contextlib.ExitStack() as stack:
            add_pss(result, stack, peers.managed(bench))
    return results


def add_pss(result, stack, starting):
    try:
        proxy = stack.enter_context(starting)
        time.sleep(2)  # what starts after the ports has started
        result.kib.append(pss_kib(proxy.pid))
        result.rounds += 1
        print(".", end="", flush=True, file=sys.stderr)
    except Failure as failure:
        result.fail(failure)


def calls_row(bench, settings, names):
    """System calls per round trip at 128 bytes and 64 connections."""
    results = {name: Result("calls", name) for name in names}
    if shutil.which("strace") is None:
        raise Failure("strace is not installed")
    with contextlib.ExitStack() as stack:
        running = with_all(bench, names, results, stack)
        for name, proxy in running.items():
            try:
                measure_calls(bench, proxy, results[name])
            except Failure as failure:
                results[name].fail(failure)
    return list(results.values())


def measure_calls(bench, proxy, result):
    """From two runs of known length, so that opening, closing and the edges of the count cancel."""
    short, long = (traced_run(bench, proxy, messages, result) for messages in TRACED_MESSAGES)
    if not long:
        raise Failure("strace counted nothing")
    trips = (TRACED_MESSAGES[1] - TRACED_MESSAGES[0]) * TRACED_CONNECTIONS
    counts = {name: (calls - short.get(name, (0, 0))[0], errors - short.get(name, (0, 0))[1])
              for name, (calls, errors) in long.items()}
    groups = {"recv": RECEIVES, "send": SENDS, "epoll_wait": WAITS, "epoll_ctl": {"epoll_ctl"}}
    known = set().union(*groups.values())
    for group, members in groups.items():
        result.calls[group] = sum(counts.get(name, (0, 0))[0] for name in members) / trips
    result.calls["other"] = sum(n for name, (n, _) in counts.items() if name not in known) / trips
    result.calls["failed"] = sum(errors for _, errors in counts.values()) / trips
    result.rounds = 1
    print(".", end="", flush=True, file=sys.stderr)


def traced_run(bench, proxy, messages, result):
    def during():
        with load(bench, proxy, "echo", "--connections", TRACED_CONNECTIONS, "--bytes", 128,
                  "--messages", messages) as client:
            result.add_errors(client.report(OPEN_SECONDS_MAX))
        time.sleep(0.2)  # the proxy closes its side

    return count_calls(proxy.pid, during, bench.folder("strace") / "log")


ROWS = {
    "ws-128-64": cpu_row("ws-128-64", "echo", 64, "--bytes", 128),
    "ws-128-1000": cpu_row("ws-128-1000", "echo", 1000, "--bytes", 128),
    "ws-16k-64": cpu_row("ws-16k-64", "echo", 64, "--bytes", 16384),
    "ws-256k-64": cpu_row("ws-256k-64", "echo", 64, "--bytes", 262144),
    "ws-1m-64": cpu_row("ws-1m-64", "echo", 64, "--bytes", 1048576),
    "ws-128-64-depth8": cpu_row("ws-128-64-depth8", "echo", 64, "--bytes", 128, "--depth", 8),
    "wss-128-64": cpu_row("wss-128-64", "echo", 64, "--bytes", 128, tls=True),
    "wss-16k-64": cpu_row("wss-16k-64", "echo", 64, "--bytes", 16384, tls=True),
    "handshake": cpu_row("handshake", "handshake", 16),
    "handshake-tls": cpu_row("handshake-tls", "handshake", 16, tls=True),
    "p99-10k": p99_row("p99-10k", 10000, 64, "--bytes", 128),
    "idle": idle_row("idle"),
    "idle-tls": idle_row("idle-tls", tls=True),
    "process": process_row,
    "calls": calls_row,
}

# Named in the interfaces, measured when what they need has been built.
LATER = ["http-1k", "http-1k-log"]


def median(values):
    return statistics.median(values) if values else None
