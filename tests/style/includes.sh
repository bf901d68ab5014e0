#!/usr/bin/env bash
# Prints every include that points up the map of docs/architecture.md, and every source file whose own header is
# not its first include. usage: includes.sh [ROOT]
set -euo pipefail
cd "${1:-.}"

# What the folders of jobs bring together.
below_jobs="src/core src/comm src/json src/data src/tokenizer src/model src/evaluate src/prune src/train src/distill"
below_jobs+=" src/plan src/search kernels io jobs/job.hpp"
# Who may include whom, besides itself. A folder of src or jobs that is not here is refused; jobs itself is free.
declare -A may_include=(
    [src/core]=""
    [kernels]="src/core kernels/cpu kernels/cuda"
    [kernels/cpu]="src/core kernels"
    [kernels/cuda]="src/core kernels"
    [kernels/reference]="src/core kernels"
    [src/comm]="src/core kernels"
    [src/json]="src/core"
    [src/data]="src/core"
    [src/tokenizer]="src/core src/json"
    [src/model]="src/core src/comm src/json kernels"
    [src/evaluate]="src/core src/comm src/data src/model kernels"
    [src/prune]="src/core src/comm src/data src/model kernels"
    [src/train]="src/core src/comm src/data src/model kernels"
    [src/distill]="src/core src/comm src/data src/model kernels"
    [src/plan]="src/core src/json src/model"
    [src/search]="src/core src/model src/plan"
    [io]="src/core src/data src/json"
    [jobs/job.hpp]="src/comm io"
    [jobs/session]="src/core src/comm kernels kernels/cuda io jobs/job.hpp"
    [jobs/files]="$below_jobs jobs/session"
    [jobs/data]="$below_jobs jobs/session jobs/files"
    [jobs/pruning]="$below_jobs jobs/session jobs/files jobs/data"
    [jobs/training]="$below_jobs jobs/session jobs/files jobs/data"
    [jobs/search]="$below_jobs jobs/session jobs/files jobs/data jobs/training"
    [jobs/plan]="$below_jobs jobs/session"
    [jobs/report]="src/core io"
)
# Where a library may be seen; a folder stands for those in it.
declare -A seen_in=(
    [mpi.h]="src/comm io"
    [hdf5.h]="io"
    [nlohmann/]="src/json io src/model src/tokenizer src/plan jobs"
    [boost/program_options]="jobs/session"
    [oneapi/]="kernels/cpu"
    [dnnl]="kernels/cpu"
    [cuda_]="src/core kernels/cuda"
    [cublas]="kernels/cuda"
    [cudnn]="kernels/cuda"
    [nccl.h]="src/comm"
)

# Sets `part` to the part of the map that a path belongs to.
find_part() {
    if [[ $1 =~ ^(kernels/(cpu|cuda|reference)|(src|jobs)/[^/]+)/ ]]; then
        part=${BASH_REMATCH[1]}
    elif [[ $1 == jobs/job.hpp ]]; then
        part=$1
    else
        part=${1%%/*}
    fi
}

found=0
report() {
    echo "$1"
    found=1
}

# file:line:text of every include, a file's first one first.
include_form='^ *# *include *([<"])([^>"]+)'
previous=""
while IFS=: read -r file line text; do
    find_part "$file" && from=$part
    [[ $text =~ $include_form ]] || continue
    quote=${BASH_REMATCH[1]} target=${BASH_REMATCH[2]}
    if [[ $from == */* && ! -v may_include[$from] && $file != "$previous" ]]; then
        report "$file:$line: nothing says what $from may include: its line in tests/style/includes.sh is missing"
    fi
    if [[ $quote == '"' ]]; then
        find_part "$target" && to=$part
        if [[ -v may_include[$from] && $to != "$from" && " ${may_include[$from]} " != *" $to "* ]]; then
            report "$file:$line: $from may not include $to ($target)"
        fi
    fi
    for library in "${!seen_in[@]}"; do
        if [[ $target == "$library"* && " ${seen_in[$library]} " != *" $from "* &&
            " ${seen_in[$library]} " != *" ${from%%/*} "* ]]; then
            report "$file:$line: $library may be included in ${seen_in[$library]}, not in $from ($target)"
        fi
    done
    header=${file%.cpp}.hpp
    if [[ $file != "$previous" && $file == *.cpp && -f $header && $target != "$header" ]]; then
        report "$file:$line: its first include must be \"$header\", which shows that the header compiles alone"
    fi
    previous=$file
done < <(grep -rnE --include='*.[ch]pp' --include='*.cu' --include='*.cuh' "$include_form" src kernels io jobs)

exit $found
