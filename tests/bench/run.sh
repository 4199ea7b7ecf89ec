#!/bin/sh
# Measures Sluice beside its peers; see README.md. Needs what tests/packages.txt lists.
here=$(cd "$(dirname "$0")" && pwd)
PYTHONDONTWRITEBYTECODE=1 exec python3 "$here/measure" "$@"
