#!/usr/bin/env python3
"""Text checks of the house's style: what a reader can see without a compiler.

Prints `file:line: what is wrong` for each finding and ends with 1 if there is any.
Usage: tests/tidy/tidy.py [FILE...]   (default: every file that git knows or would add)
"""

import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
LINES_MAX = 600
FUNCTION_LINES_MAX = 70
README_LINES_MAX = 40
COLUMNS_MAX = 100

PROXY = ["base", "model", "http", "websocket", "net", "httpserver", "telemetry", "filter", "upstream",
         "config", "sync", "control", "session", "worker", "admin"]
# What a room of proxy/ may include, itself aside; "proto" stands for generated messages.
ROOMS = {
    "base": [], "model": ["base"], "http": ["base"], "websocket": ["base", "http"], "net": ["base"],
    "httpserver": ["base", "http", "net"],
    "telemetry": ["base", "model", "http"],
    "filter": ["base", "model", "http", "websocket", "telemetry", "proto"],
    "upstream": ["base", "model", "http", "websocket", "net", "telemetry"],
    "config": ["proto", "base", "model", "http", "filter", "upstream", "net"],
    "sync": ["proto", "base", "model", "config", "telemetry"],
    "control": ["proto", "grpc", "base", "model", "config", "telemetry", "sync"],
    "session": [r for r in PROXY[:10]], "worker": [r for r in PROXY[:10]] + ["session"],
    "admin": [r for r in PROXY[:10]] + ["session", "worker"],
}
FILTER_MAY = ["base", "model", "http", "websocket", "telemetry", "filter"]
CONTROL_MAY = {
    "*": ["base", "model", "config", "sync", "filter"],
    "http": ["base", "model", "config", "sync", "filter", "http", "websocket", "net", "httpserver",
             "telemetry"],
    "cli": ["base", "config", "http", "websocket", "net"],
}
CONTROL_ORDER = ["model", "store", "pki", "oauth", "discovery", "quota", "analytics", "api", "http",
                 "cli"]
GRPC_FOLDERS = ("proxy/control/", "controlplane/api/", "controlplane/discovery/",
                "controlplane/quota/", "controlplane/analytics/", "controlplane/process.cc",
                "tests/")
BANNED = re.compile(
    r"\b(TODO|FIXME|XXX|HACK)\b|\b[Nn]ot implemented\b|\b[Ff]or now\b")
MACHINE = re.compile(r"/wo" r"rk/|/fa" r"rm/|/tmp/bash_" r"jobs")
SLEEP = re.compile(r"sleep_for|sleep_until\(std|usleep\(|std::this_thread::sleep")
INCLUDE = re.compile(r'^\s*#include\s+[<"]([^>"]+)[>"]')
CODE = (".cc", ".h")
TEXT = CODE + (".py", ".sh", ".md", ".proto", ".txt", ".cmake", ".yaml", ".json", ".js", ".mjs",
               ".html")

findings = []


def find(path, line, what):
    findings.append(f"{path}:{line}: {what}")


def files():
    if len(sys.argv) > 1:
        return sys.argv[1:]
    out = subprocess.run(["git", "ls-files", "--cached", "--others", "--exclude-standard"], cwd=ROOT,
                         capture_output=True, text=True, check=True).stdout
    return [f for f in out.splitlines() if (ROOT / f).is_file()]


def room_of(include):
    parts = include.split("/")
    if parts[0] == "proxy" and len(parts) > 2:
        return parts[1]
    if include.endswith(".grpc.pb.h") or parts[0] in ("grpcpp", "grpc"):
        return "grpc"
    if include.endswith(".pb.h") or include.startswith("google/protobuf/"):
        return "proto"
    return None


def check_includes(path, lines):
    parts = path.split("/")
    test = path.endswith("_test.cc") or parts[-1].startswith(("test_", "testing"))
    for number, line in enumerate(lines, 1):
        match = INCLUDE.match(line)
        if not match:
            continue
        include = match.group(1)
        room = room_of(include)
        if room == "grpc" and not path.startswith(GRPC_FOLDERS):
            find(path, number, "gRPC belongs to proxy/control and the services' adapters")
        if parts[0] == "proxy" and len(parts) > 2 and parts[1] in ROOMS:
            if include.startswith("controlplane/"):
                find(path, number, "proxy never includes controlplane")
            allowed = ROOMS[parts[1]] + [parts[1]]
            if room and room != "grpc" and room not in allowed and not test:
                find(path, number, f"proxy/{parts[1]} may not include {room}")
            if parts[1] in ("http", "websocket") and include.startswith("boost/asio"):
                find(path, number, "codecs never include Asio")
        elif parts[0] == "filters" and len(parts) > 2:
            if room in PROXY and room not in FILTER_MAY:
                find(path, number, f"a filter may not include proxy/{room}")
            if include.startswith("filters/") and not include.startswith(f"filters/{parts[1]}/"):
                find(path, number, "a filter never includes another filter")
            if room == "proto" and include.endswith(".pb.h") and path.endswith(".h"):
                find(path, number, "generated types stop at a filter's .cc")
        elif parts[0] == "controlplane" and len(parts) > 2:
            allowed = CONTROL_MAY.get(parts[1], CONTROL_MAY["*"])
            if room in PROXY and room not in allowed:
                find(path, number, f"controlplane/{parts[1]} may not include proxy/{room}")
            other = include.split("/")[1] if include.startswith("controlplane/") else None
            if other in CONTROL_ORDER and parts[1] in CONTROL_ORDER and not test and \
                    CONTROL_ORDER.index(other) > CONTROL_ORDER.index(parts[1]):
                find(path, number, f"controlplane/{parts[1]} may not include {other}")


def check_functions(path, lines):
    """Function bodies by brace depth: a `{` that ends a line at depth 0 or in a class."""
    depth = 0
    opened = []
    for number, line in enumerate(lines, 1):
        code = re.sub(r"//.*", "", re.sub(r'"(\\.|[^"\\])*"|\'(\\.|[^\'\\])\'', '""', line))
        for char in code:
            if char == "{":
                header = code.strip()
                is_function = bool(re.search(r"\)[^;=]*\{\s*$", header)) and not re.match(
                    r"(if|for|while|switch|else|do|\}|class|struct|namespace|enum)\b", header)
                opened.append((number, is_function and not any(f for _, f in opened)))
                depth += 1
            elif char == "}" and opened:
                begin, is_function = opened.pop()
                depth -= 1
                if is_function and number - begin + 1 > FUNCTION_LINES_MAX:
                    find(path, begin, f"function of {number - begin + 1} lines "
                                      f"(at most {FUNCTION_LINES_MAX})")


def check_coroutines(path, text):
    """In an expression with co_await: no brace-built aggregate and no capturing lambda (GCC 12)."""
    for match in re.finditer(r"co_await\b[^;]*;", text):
        statement = match.group(0)
        line = text.count("\n", 0, match.start()) + 1
        if re.search(r"\[[&=\w][^\]]*\]\s*(\(|\{)", statement):
            find(path, line, "capturing lambda in a co_await expression: name it before")
        call = re.sub(r"\)\s*\{.*", "", statement, flags=re.S)
        if re.search(r"[(,]\s*\{[^}]", call) or re.search(r"[(,]\s*[A-Z]\w*\{", call):
            find(path, line, "brace-built aggregate in a co_await expression: name it before")


def check_text(path, lines):
    for number, line in enumerate(lines, 1):
        if path != "tests/tidy/tidy.py" and BANNED.search(line):
            find(path, number, "mark of unfinished work")
        if MACHINE.search(line):
            find(path, number, "path of a machine")
        if path.endswith(CODE) and len(line) > COLUMNS_MAX:
            find(path, number, f"{len(line)} columns (at most {COLUMNS_MAX})")
        if path.endswith(CODE) and SLEEP.search(line):
            find(path, number, "a sleep: wait for the event instead, with a deadline")


def check_readmes(paths):
    folders = {str(Path(p).parent) for p in paths if p.endswith(CODE)}
    for folder in sorted(folders):
        readme = ROOT / folder / "README.md"
        if not readme.is_file():
            find(folder, 1, "folder without README.md")
        elif len(readme.read_text().splitlines()) > README_LINES_MAX:
            find(f"{folder}/README.md", 1, f"more than {README_LINES_MAX} lines")


def main():
    paths = files()
    for path in paths:
        if not path.endswith(TEXT):
            continue
        text = (ROOT / path).read_text(errors="replace")
        lines = text.splitlines()
        check_text(path, lines)
        if path.endswith(CODE):
            if len(lines) > LINES_MAX:
                find(path, 1, f"{len(lines)} lines (at most {LINES_MAX})")
            if path.endswith(".h") and "#pragma once" not in text:
                find(path, 1, "header without #pragma once")
            check_includes(path, lines)
            check_functions(path, lines)
            check_coroutines(path, text)
    if len(sys.argv) == 1:
        check_readmes(paths)
    print("\n".join(findings) if findings else "tidy: nothing to say")
    return 1 if findings else 0


if __name__ == "__main__":
    sys.exit(main())
