#!/usr/bin/env bash
# A bundle for GPU machines starts with nothing of this machine but glibc and CUDA's libraries.
# usage: bundle_test.sh ROOT BUILD
set -euo pipefail
root=$1 build=$2
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
fail() {
    echo "FAILED: $*"
    exit 1
}

"$root/scripts/gpu-bundle" --build "$build" --out "$folder/bundle"
cuda=$(ldd "$build/espalier" | awk '$1 ~ /^lib(cublasLt|cudnn|nvrtc|nccl)/ { sub(/\/[^\/]*$/, "", $3); print $3 }' | sort -u | paste -sd:)
start() { env -i PATH=/usr/bin:/bin XDG_CACHE_HOME="$folder" TMPDIR="$folder" LD_LIBRARY_PATH="$cuda" "$folder/bundle/run" "$@"; }

# expect CODES PATTERN WORDS...: how the bundle's run may end, and what it says.
expect() {
    local codes=$1 pattern=$2 code=0
    shift 2
    start "$@" > "$folder/said" 2>&1 || code=$?
    [[ " $codes " == *" $code "* ]] || fail "run $* ends with $code: $(cat "$folder/said")"
    grep -qE "$pattern" "$folder/said" || fail "run $* does not say $pattern"
}

# Alone, on ranks, which find each other by plugins, and where there is no device.
expect 0 '^espalier [0-9]' espalier --version
expect 0 'from scratch' mpirun -n 2 espalier cost --family "$root/share/families/minitron.json"
if [[ -e /dev/nvidiactl ]]; then expect 0 PASSED test; else expect 77 'nothing was tested' test; fi

# Libraries are the bundle's, or those that it expects.
foreign=$(env -i PATH=/usr/bin:/bin LD_LIBRARY_PATH="$folder/bundle/files/lib:$cuda" ldd "$folder"/bundle/files/bin/* "$folder"/bundle/files/*/*.so |
    awk '$2 == "=>" { print $3 == "not" ? $1 " not found" : $3 }' | sort -u | grep -vF "$folder/bundle/" |
    grep -vE '/lib(c|m|dl|rt|pthread|resolv|util|cublasLt|cudnn|nvrtc|nccl)\.so' || true)
[[ -z $foreign ]] || fail "not of the bundle: $foreign"

# An archive that is cut short leaves nothing behind.
mkdir "$folder/short"
cp "$root/scripts/gpu-bundle.run" "$folder/short/run"
echo "no archive" > "$folder/short/files.tar.gz"
! "$folder/short/run" espalier --version 2> "$folder/message" || fail "a damaged bundle starts"
[[ -z $(compgen -G "$folder/short/files.*[0-9]") ]] || fail "left over: $(ls "$folder/short")"

code=0
"$root/scripts/gpu-bundle" --build "$folder" 2> "$folder/message" || code=$?
if [[ $code -ne 2 ]] || ! grep -q 'has no espalier' "$folder/message"; then fail "a folder without a build is not refused"; fi
echo "passed"
