#!/usr/bin/env bash
# Fails where a script of .ci/, scripts/, slurm/ or tests/cluster/ does not answer --help with its usage (exit code 0) or does not refuse an
# option that it does not know (exit code 2), or where it does anything else on the way. usage: help.sh [ROOT]
set -euo pipefail
source "$(dirname "$0")/sources.sh"
cd "${1:-.}"

# A copy, so that what a script leaves shows, with programs that leave word of being called.
world=$(mktemp -d)
trap 'rm -rf "$world"' EXIT
mkdir "$world/tree" "$world/programs"
cp -r --parents .ci scripts slurm tests/cluster "$world/tree"
for program in cmake ctest ninja apt-get dpkg-query sudo clang-tidy pip mpirun sbatch srun scancel squeue scontrol; do
    printf '#!/bin/sh\necho "${0##*/} $*" >> "%s/called"\n' "$world" > "$world/programs/$program"
done
chmod +x "$world"/programs/*
export PATH=$world/programs:$PATH PYTHONDONTWRITEBYTECODE=1
cd "$world/tree"

failed=0
wrong() {
    echo "$*"
    failed=1
}
# answer SCRIPT WORD CODE: `said` is what it said
answer() {
    local before code=0
    before=$(find . | sort)
    said=$("./$1" "$2" 2>&1 < /dev/null) || code=$?
    [[ $code -eq $3 ]] || wrong "$1 $2: exit code $code, not $3"
    [[ -n $said ]] || wrong "$1 $2: says nothing"
    [[ $(find . | sort) == "$before" ]] || wrong "$1 $2: leaves files"
    [[ ! -e $world/called ]] || wrong "$1 $2: calls $(head -n 1 "$world/called")"
    rm -f "$world/called"
}
count=0
while read -r script; do
    head -c 2 "$script" | grep -q '^#!' || continue
    count=$((count + 1))
    answer "$script" --help 0
    [[ $said == *usage:* ]] || wrong "$script --help: has no usage"
    answer "$script" --no-such-option 2
done < <(find .ci scripts slurm tests/cluster -type f -perm /100 | sort)
[[ $count -gt 20 ]] || wrong "found only $count scripts"
exit "$failed"
