#!/usr/bin/env bash
# Runs a command under mpirun, waits for a moment of it, sends signals to its ranks, and ends with mpirun's exit code.
# Says "signalled" on standard output where the signals found somebody, and passes the command's standard error on.
# usage: signal_ranks.sh WHEN SIGNALS RANK MARK COMMAND...
#   WHEN     FILE:LINES, as soon as FILE has so many lines; or SECONDS since the start
#   SIGNALS  KILL; TERM,USR1: one right after the other
#   RANK     a number, or all
#   MARK     a word of the ranks' command line that no other process has
set -u
when=$1 signals=$2 rank=$3 mark=$4
shift 4
"$@" > /dev/null &
launcher=$!
trap 'kill "$launcher"; exit 143' TERM

running() { kill -0 "$launcher" 2> /dev/null; }
ranks() {
    local pid
    for pid in $(pgrep -x espalier); do
        tr '\0' '\n' 2> /dev/null < "/proc/$pid/cmdline" | grep -qxF -- "$mark" || continue
        [[ $rank == all ]] || tr '\0' '\n' 2> /dev/null < "/proc/$pid/environ" | grep -qx "OMPI_COMM_WORLD_RANK=$rank" || continue
        echo "$pid"
    done
}

if [[ $when == *:* ]]; then
    while running && [[ $(wc -l 2> /dev/null < "${when%:*}" || echo 0) -lt ${when##*:} ]]; do sleep 0.01; done
else
    timeout "$when" tail --pid="$launcher" --sleep-interval=0.01 -f /dev/null
fi
found=$(ranks)
while [[ -z $found ]] && running; do sleep 0.01; found=$(ranks); done
if [[ -n $found ]]; then
    for signal in ${signals//,/ }; do
        # shellcheck disable=SC2086 # a word for each process
        kill -s "$signal" $found 2> /dev/null && signalled=yes
    done
fi
[[ -z ${signalled-} ]] || echo signalled
wait "$launcher"
