#!/usr/bin/env bash
# Runs a command under mpirun, waits until FILE has LINES lines, kills one rank of it with -9, and ends with mpirun's exit code.
# usage: kill_a_rank.sh FILE LINES MARK COMMAND...     MARK: a word of the ranks' command line that no other process has
set -u
file=$1 lines=$2 mark=$3
shift 3
"$@" > /dev/null 2>&1 &
launcher=$!
while kill -0 "$launcher" 2> /dev/null && [[ $(wc -l 2> /dev/null < "$file" || echo 0) -lt $lines ]]; do :; done
for pid in $(pgrep -x espalier); do
    if tr '\0' '\n' 2> /dev/null < "/proc/$pid/cmdline" | grep -qxF -- "$mark"; then
        kill -9 "$pid"
        break
    fi
done
wait "$launcher"
