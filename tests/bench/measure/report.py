"""The results as a table, JSON lines and Markdown."""

import json
import os
import pathlib
import platform
import re

from rows import median


def cell(result):
    if result is None:
        return "-"
    if result.kib:
        kib = median(result.kib)
        text = f"{kib:.2f} KiB" if kib < 1024 else f"{kib / 1024:.1f} MiB"
    elif result.calls:
        text = f"{sum(value for key, value in result.calls.items() if key != 'failed'):.2f} calls"
    elif result.cpu_us or result.p99_us:
        value = f"{median(result.cpu_us or result.p99_us):.1f} us"
        text = f"{median(result.ratios):.2f} ({value})" if result.ratios else value
    else:
        return "failed"
    return text + (" !" if result.errors else "")


def by_row(results):
    rows = {}
    for result in results:
        rows.setdefault(result.row, {})[result.proxy] = result
    return rows


def table(results, proxies):
    lines = [["row", *proxies]]
    for row, found in by_row(results).items():
        lines.append([row, *[cell(found.get(proxy)) for proxy in proxies]])
    return lines


def calls_table(results):
    lines = []
    for result in results:
        if result.calls:
            if not lines:
                lines.append(["calls", *result.calls])
            lines.append([result.proxy, *[f"{value:.3f}" for value in result.calls.values()]])
    return lines


def errors(results):
    return [f"{r.row} {r.proxy}: {r.errors} errors, first: {r.first_error}"
            for r in results if r.errors]


def as_text(lines):
    widths = [max(len(line[i]) for line in lines) for i in range(len(lines[0]))]
    return "\n".join("  ".join(text.ljust(width) for text, width in zip(line, widths)).rstrip()
                     for line in lines)


def as_markdown(lines):
    rule = ["---"] * len(lines[0])
    return "\n".join("| " + " | ".join(line) + " |" for line in [lines[0], rule, *lines[1:]])


def explain(settings):
    return (f"CPU per round trip: ratio to the bare relay of the same round, and microseconds; "
            f"medians of {settings.rounds} interleaved rounds of {settings.seconds:g} s. `idle`: "
            f"memory (PSS) of one idle connection, of {settings.idle_connections}; `process`: of a "
            f"process that has served nothing. `p99`: of round trips, in place of CPU. `calls`: "
            f"system calls per round trip. `!`: with errors.")


def write_json(path, results):
    with open(path, "w") as out:
        for result in results:
            line = {"row": result.row, "proxy": result.proxy}
            if result.row.startswith(("idle", "process")):
                line["kib"] = rounded(median(result.kib))
            elif result.row == "calls":
                line["calls"] = {key: rounded(value) for key, value in result.calls.items()}
            elif result.row.startswith("p99"):
                line["p99_us"] = rounded(median(result.p99_us))
                line["ratio"] = rounded(median(result.ratios))
            else:
                line["cpu_us"] = rounded(median(result.cpu_us))
                line["ratio"] = rounded(median(result.ratios))
            line["rounds"] = result.rounds
            line["errors"] = result.errors
            out.write(json.dumps(line) + "\n")


def rounded(value):
    return None if value is None else round(value, 3)


def machine():
    model = re.search(r"model name\s*: (.*)", pathlib.Path("/proc/cpuinfo").read_text())
    memory = re.search(r"MemTotal:\s+(\d+)", pathlib.Path("/proc/meminfo").read_text())
    return [
        f"CPU: {model.group(1) if model else platform.machine()}, {os.cpu_count()} cores",
        f"memory: {int(memory.group(1)) / 2**20:.1f} GiB",
        f"kernel: {platform.system()} {platform.release()}",
        f"load average at the end: {os.getloadavg()[0]:.1f} (a quiet machine has about 1.5 here)",
    ]


def write_markdown(path, results, proxies, versions, settings):
    parts = ["# Results", "Written by `tests/bench/run.sh --markdown`.", explain(settings),
             as_markdown(table(results, proxies))]
    calls = calls_table(results)
    if calls:
        parts.append(as_markdown(calls))
    if errors(results):
        parts.append("\n".join(f"- {line}" for line in errors(results)))
    facts = machine() + [f"{name}: {version}" for name, version in versions.items()]
    parts += ["## Machine and versions", "\n".join(f"- {fact}" for fact in facts)]
    pathlib.Path(path).write_text("\n\n".join(parts) + "\n")
