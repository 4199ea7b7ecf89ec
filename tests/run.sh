#!/usr/bin/env bash
# Installs what is missing, builds, and runs every test. The last line is `N passed, N failed`.
#   tests/run.sh [--quick] [--no-install] [--preset NAME]
# --quick leaves out the slow ones; --preset (default release) chooses the build, e.g. asan.
set -euo pipefail
cd "$(dirname "$0")/.."

quick=0 install=1 preset=release
while [ $# -gt 0 ]; do
  case "$1" in
    --quick) quick=1 ;;
    --no-install) install=0 ;;
    --preset) preset=${2:?--preset needs a name}; shift ;;
    *) echo "usage: tests/run.sh [--quick] [--no-install] [--preset NAME]" >&2; exit 2 ;;
  esac
  shift
done

[ "$install" = 0 ] || deploy/install-packages.sh deploy/packages.txt tests/packages.txt npm
results=build/$preset/results
cmake --preset "$preset" >/dev/null
cmake --build --preset "$preset"
rm -rf "$results"
mkdir -p "$results"
[ -f tests/e2e/node_modules/.package-lock.json ] || npm ci --prefix tests/e2e --no-audit --no-fund

failed_step=0
/usr/bin/python3 tests/tidy/tidy.py || failed_step=1
exclude=()
[ "$quick" = 0 ] || exclude=(-LE slow)
[ "$preset" != tsan ] || exclude=(-LE grpc)
ctest --test-dir "build/$preset" --output-on-failure -j2 "${exclude[@]}" \
  --output-junit "$PWD/$results/unit.xml" || true
reports=("$results/unit.xml")
if [ "$preset" != tsan ]; then
  marks=()
  [ "$quick" = 0 ] || marks=(-m "not slow")
  SLUICE_BUILD="$PWD/build/$preset" /usr/bin/python3 -m pytest -q -p no:cacheprovider tests/e2e \
    "${marks[@]}" --junit-xml "$results/e2e.xml" || true
  reports+=("$results/e2e.xml")
fi
/usr/bin/python3 tests/count.py "$failed_step" "${reports[@]}" | tee "$results/summary"
