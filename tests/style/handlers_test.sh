#!/usr/bin/env bash
# Plants handlers in an empty tree: handlers.sh must find them.
set -euo pipefail
check=$(realpath "$(dirname "$0")/handlers.sh")
tree=$(mktemp -d)
trap 'rm -rf "$tree"' EXIT
mkdir "$tree/jobs"

plant() { printf 'void f() {\n    %s\n}\n' "$1" > "$tree/jobs/a.cpp"; }
for body in 'std::signal(SIGXFSZ, SIG_IGN);' 'sigaction(signal, nullptr, &action);' 'note_signal(1);  // signal(SIGTERM, f)'; do
    plant "$body"
    "$check" "$tree" || { echo "refused: $body"; exit 1; }
done
for body in 'std::signal(SIGTERM, note);' 'sigaction(SIGUSR1, &action, nullptr);' 'setitimer(ITIMER_REAL, &time, nullptr);'; do
    plant "$body"
    if "$check" "$tree" > /dev/null; then
        echo "not found: $body"
        exit 1
    fi
done
