#!/usr/bin/env bash
# Installs the Debian packages of the lists given that are missing, and Node.js with npm for the word
# `npm` (only if there is none: Debian's npm cannot be installed over another Node).
#   deploy/install-packages.sh LIST... [npm]
set -euo pipefail
missing=()
for list in "$@"; do
  if [ "$list" = npm ]; then
    command -v npm >/dev/null || missing+=(nodejs npm)
    continue
  fi
  for package in $(grep -v '^#' "$list"); do
    dpkg-query -W -f '${Status}' "$package" 2>/dev/null | grep -q 'install ok installed' ||
      missing+=("$package")
  done
done
[ ${#missing[@]} -gt 0 ] || exit 0
echo "installing: ${missing[*]}"
sudo=
if [ "$(id -u)" != 0 ]; then
  command -v sudo >/dev/null || { echo "run as root, or install: ${missing[*]}" >&2; exit 1; }
  sudo=sudo
fi
export DEBIAN_FRONTEND=noninteractive
$sudo apt-get update -qq
$sudo apt-get install -y -qq --no-install-recommends "${missing[@]}" >/dev/null
