#!/bin/sh
# Measures Sluice beside its peers; see README.md. Peers are Debian's nginx-light and haproxy; `calls` needs strace.
here=$(cd "$(dirname "$0")" && pwd)
PYTHONDONTWRITEBYTECODE=1 exec python3 "$here/measure" "$@"
