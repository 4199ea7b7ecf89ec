#!/usr/bin/env python3
"""Adds up JUnit files: prints the failed and skipped tests, then `N passed, N failed`; ends with 1 if any failed.

Usage: count.py FAILED_STEPS FILE...   A report that is missing or holds no test counts as a failure.
"""

import sys
import xml.etree.ElementTree as ElementTree
from pathlib import Path

passed = 0
failed = int(sys.argv[1])
for path in sys.argv[2:]:
    cases = list(ElementTree.parse(path).iter("testcase")) if Path(path).is_file() else []
    if not cases:
        print(f"{path}: no test was run")
        failed += 1
    for case in cases:
        if case.find("failure") is not None or case.find("error") is not None:
            print(f"FAILED {case.get('classname')} {case.get('name')}")
            failed += 1
        elif (skipped := case.find("skipped")) is not None or case.get("status") == "disabled":
            why = "disabled" if skipped is None else skipped.get("message")
            print(f"skipped {case.get('classname')} {case.get('name')}: {why}")
        else:
            passed += 1
if passed == 0:
    failed += 1
print(f"{passed} passed, {failed} failed")
sys.exit(1 if failed else 0)
