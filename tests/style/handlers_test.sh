#!/usr/bin/env bash
# Plants handlers in an empty tree: handlers.sh must find those that do more than they may.
set -euo pipefail
check=$(realpath "$(dirname "$0")/handlers.sh")
tree=$(mktemp -d)
trap 'rm -rf "$tree"' EXIT
mkdir "$tree/jobs"

plant() { printf 'extern "C" void note(int signal) {\n    %s\n}\nint main() { write(1, "", 0); }\n' "$1" > "$tree/jobs/a.cpp"; }
for body in 'received = 1;' 'received = signal;  // which' 'std::signal(signal, SIG_DFL);' 'sem_post(&wanted);'; do
    plant "$body"
    "$check" "$tree" || { echo "refused: $body"; exit 1; }
done
for body in 'write(2, "ended", 5);' 'save_checkpoint();' 'received = wait(1);'; do
    plant "$body"
    if "$check" "$tree" > /dev/null; then
        echo "not found: $body"
        exit 1
    fi
done
