#!/usr/bin/env bash
# Fails on shellcheck's warnings in any shell script, and on its remarks in those of a pipeline. usage: shellcheck.sh [ROOT]
set -euo pipefail
source "$(dirname "$0")/sources.sh"
cd "${1:-.}"

if ! command -v shellcheck > /dev/null; then
    echo "skipped: shellcheck is not installed (scripts/install brings it)"
    exit 77
fi
list_files '.' | while read -r file; do
    # Those without a first line for it are sourced.
    if [[ $file == *.@(sh|env) ]] || head -c 64 "$file" | head -n 1 | grep -aqE '^#!.*\b(bash|sh)\b'; then echo "$file"; fi
done | xargs -r shellcheck --severity=warning
shellcheck --external-sources --check-sourced scripts/pipeline slurm/pipeline slurm/preflight slurm/distill.sbatch
