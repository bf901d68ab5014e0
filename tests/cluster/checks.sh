# For sourcing by tests of scripts: what is wrong is said and counted, so that one run shows all of it.
# shellcheck shell=bash

failures=0
complain() { echo "FAILED: $*" >&2; failures=$((failures + 1)); }

# refuses WORDS COMMAND...: with exit code 2 and a message that has the words
refuses() {
    local words=$1
    shift
    ends_with 2 "$@"
    says "$words"
}

# ends_with CODE COMMAND...: what it says is in said.txt
ends_with() {
    local wanted=$1 code=0
    shift
    "$@" > said.txt 2>&1 || code=$?
    [[ $code -eq $wanted ]] || complain "exit code $code instead of $wanted: $* ($(head -n 3 said.txt))"
}
# Of the last command that ends_with or refuses ran.
says() { grep -qF -- "$1" said.txt || complain "no \"$1\" in: $(head -n 5 said.txt)"; }
says_nothing_of() { ! grep -qF -- "$1" said.txt || complain "\"$1\" in: $(head -n 5 said.txt)"; }
