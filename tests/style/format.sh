#!/usr/bin/env bash
# Fails when clang-format would change a source. Exit code 77 (skipped) without the release whose output counts.
# usage: format.sh [ROOT]
set -euo pipefail
source "$(dirname "$0")/sources.sh"
cd "${1:-.}"

release=14
clang_format=$(command -v clang-format-$release || command -v clang-format || true)
if [[ -z $clang_format || $("$clang_format" --version) != *" version $release."* ]]; then
    echo "skipped: clang-format $release is not installed (scripts/install brings it)"
    exit 77
fi
misformatted=$(list_files '\.(cpp|hpp|cu|cuh)$' |
    xargs -r "$clang_format" --dry-run 2>&1 | sed -nE 's/^([^ :]+):[0-9]+:.*/\1/p' | sort -u)
if [[ -n $misformatted ]]; then
    printf '%s\n' "not as .clang-format wants them; run clang-format -i on" "$misformatted"
    exit 1
fi
