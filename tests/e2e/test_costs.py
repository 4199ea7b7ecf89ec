"""What a message costs where that is steady enough to be a gate: system calls. CPU time is not: see tests/bench/RESULTS.md."""

import json
import shutil
import subprocess
from pathlib import Path

import pytest

from sluice import BUILD

RUN = Path(__file__).resolve().parents[1] / "bench" / "run.sh"
CALLS_MAX = 4.1  # a round trip: two recv, two send; a wait serves many


def test_a_round_trip_takes_four_system_calls(tmp_path):
    if BUILD.name != "release":
        pytest.skip("only what is shipped is measured")
    if shutil.which("strace") is None:
        pytest.skip("strace is not installed")
    out = tmp_path / "rows.json"
    done = subprocess.run([RUN, "--quick", "--rows", "calls", "--proxies", "sluice", "--build", BUILD, "--json", out],
                          stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr
    rows = [json.loads(line) for line in out.read_text().splitlines()]
    calls = next(row["calls"] for row in rows if row["proxy"] == "sluice")
    assert sum(count for name, count in calls.items() if name != "failed") <= CALLS_MAX, calls
