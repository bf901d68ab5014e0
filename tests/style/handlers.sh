#!/usr/bin/env bash
# Prints every signal handler that does more than note the signal, in a variable or by sem_post, which POSIX allows there: what else
# it calls may wait for a lock that the interrupted code holds. usage: handlers.sh [ROOT]
set -euo pipefail
case ${1:-} in --help | -h) sed -n '2,3s/^# //p' "$0"; exit 0 ;; esac
cd "${1:-.}"
source "$(dirname "$(realpath "${BASH_SOURCE[0]}")")/sources.sh"

mapfile -t files < <(list_files '^(src|kernels|io|jobs)/.*\.(cpp|cu)$')
[[ ${#files[@]} -gt 0 ]] || exit 0
awk '
    FNR == 1 { inside = 0 }
    /^extern "C" void [a-z_]+\(int( [a-z_]+)?\) \{/ { inside = 1; next }
    /^\}/ { inside = 0 }
    { code = $0; sub(/ *\/\/.*/, "", code) }
    inside && code !~ /^ *([a-z_]+ = [a-z0-9_]+;|std::signal\([a-zA-Z]+, SIG_(DFL|IGN)\);|sem_post\(&[a-z_]+\);)?$/ { print FILENAME ":" FNR ": " $0; found = 1 }
    END { exit found }
' "${files[@]}"
