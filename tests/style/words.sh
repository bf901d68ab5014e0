#!/usr/bin/env bash
# Fails on words that have no place in the tree: unfinished work, paths of one machine, hosts of registries.
# usage: words.sh [ROOT]
set -euo pipefail
source "$(dirname "$0")/sources.sh"
cd "${1:-.}"

# A bracket in each, so that this file does not find itself.
patterns='\bT[O]DO\b|\bF[I]XME\b|\bX[X]X\b|/w[o]rk/|/r[o]ot/|\.\./s[h]ared\b'
patterns+='|p[y]pi\.org|p[y]thonhosted\.org|d[e]b\.debian\.org|d[o]wnload\.pytorch\.org|h[u]ggingface\.co/.*/resolve'
found=$(list_files '.' | grep -vxE 'LICENSE' | xargs -r grep -nIE "$patterns" || true)
if [[ -n $found ]]; then
    echo "$found"
    exit 1
fi
