#!/usr/bin/env bash
# Runs a command that has to end with an exit code and to say something, of which ctest would look at one only.
# usage: ends_with.sh CODE PATTERN COMMAND...
set -euo pipefail
case ${1:-} in --help | -h) sed -n '2,3s/^# //p' "$0"; exit 0 ;; esac
[[ $# -ge 3 ]] || { sed -n '2,3s/^# //p' "$0" >&2; exit 2; }
wanted=$1 pattern=$2 code=0
shift 2
said=$("$@" 2>&1) || code=$?
echo "$said"
[[ $code -eq $wanted ]] || { echo "exit code $code instead of $wanted"; exit 1; }
grep -qE -- "$pattern" <<< "$said" || { echo "nothing of $pattern"; exit 1; }
