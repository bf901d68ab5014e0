#!/usr/bin/env bash
# Plants each kind of word in an empty tree: words.sh must find it.
set -euo pipefail
check=$(realpath "$(dirname "$0")/words.sh")
tree=$(mktemp -d)
trap 'rm -rf "$tree"' EXIT

echo 'nothing to do here: mkstemp("aXXXXXX"), /tmp/file, network/' > "$tree/file"
"$check" "$tree"
for word in 'TO''DO later' 'FIX''ME' '// XX''X' '/wo''rk/main' '/ro''ot/x' '../sha''red/data' 'https://py''pi.org/simple'; do
    echo "$word" > "$tree/file"
    if "$check" "$tree" > /dev/null; then
        echo "not found: $word"
        exit 1
    fi
done
