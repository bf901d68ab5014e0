#!/usr/bin/env bash
# Prints every line that makes a signal interrupt a thread: a handler, or a timer that sends signals. What a thread computes may
# not survive it (docs/adr/0020-signals.md). usage: handlers.sh [ROOT]
set -euo pipefail
case ${1:-} in --help | -h) sed -n '2,3s/^# //p' "$0"; exit 0 ;; esac
cd "${1:-.}"
source "$(dirname "$(realpath "${BASH_SOURCE[0]}")")/sources.sh"

mapfile -t files < <(list_files '^(src|kernels|io|jobs)/.*\.(cpp|cu|hpp|cuh)$')
[[ ${#files[@]} -gt 0 ]] || exit 0
awk '
    { code = $0; sub(/ *\/\/.*/, "", code) }
    code ~ /(^|[^a-z_.])signal\(/ && code !~ /signal\([A-Z0-9]+, SIG_(DFL|IGN)\)/ ||
        code ~ /sigaction\(/ && code !~ /sigaction\([a-z_]+, nullptr, / ||
        code ~ /(setitimer|timer_create|alarm)\(/ { print FILENAME ":" FNR ": " $0; found = 1 }
    END { exit found }
' "${files[@]}"
