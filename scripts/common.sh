# For sourcing: what the scripts share.
# shellcheck disable=SC2034

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)

# Where the Python for the interop tests lives: outside the build tree, so that it outlives it.
interop_venv=${ESPALIER_VENV:-${XDG_CACHE_HOME:-$HOME/.cache}/espalier-venv}

say() { echo "== $*" >&2; }
die() {
    echo "$(basename "$0"): $*" >&2
    exit 1
}
# What the user can put right.
refuse() {
    echo "$(basename "$0"): $*" >&2
    exit 2
}

# The comment at a script's head, from its second line on, is its help.
usage_of() { sed -n '2,/^[^#]/{s/^# \{0,1\}//p}' "$1"; }

# Runs a command that needs the network, up to four times.
retry() {
    local pause
    for pause in 5 15 45 0; do
        if "$@"; then return 0; fi
        [[ $pause -eq 0 ]] || { say "again in $pause s: $*"; sleep "$pause"; }
    done
    return 1
}

as_root() {
    if [[ $EUID -eq 0 ]]; then "$@"; else sudo "$@"; fi
}

# Debian's own Python where there is one: the virtual environment is made with it.
python=/usr/bin/python3
[[ -x $python ]] || python=python3
