#!/usr/bin/env bash
# Fails on shellcheck's warnings in any shell script. usage: shellcheck.sh [ROOT]
set -euo pipefail
source "$(dirname "$0")/sources.sh"
cd "${1:-.}"

if ! command -v shellcheck > /dev/null; then
    echo "skipped: shellcheck is not installed (scripts/install brings it)"
    exit 77
fi
list_files '.' | while read -r file; do
    if head -c 64 "$file" | head -n 1 | grep -aqE '^#!.*\b(bash|sh)\b'; then echo "$file"; fi
done | xargs -r shellcheck --severity=warning
