# For sourcing: what a stage is made from, as a hash by which it is known as done or begun.
# shellcheck shell=bash disable=SC2154

# may_change JOB OPTIONS: those, as a regular expression, that the program lets a run change while it learns: configuration() in
# jobs/training/options.cpp, for a search settings() in jobs/search.cpp, and without_placement() in jobs/session/options.cpp for both.
may_change() {
    local free='tp|pp|virtual-stages|device|share-device|quiet|log-level|recompute|checkpoint-every|exit-after-minutes'
    # With --hidden-weight auto each micro-batch has a weight of its own.
    [[ -n $(option_in "$2" hidden-map) && $(option_in "$2" hidden-weight) =~ ^(auto)?$ ]] || free+='|micro-batch'
    # A search ranks its candidates at every valid-every.
    [[ $1 == search ]] || free+='|teacher-tp|teacher-pp|keep|log-every|valid-every|exit-after-steps|resume'
    case $1 in train | distill) free+='|valid' ;; esac
    echo "$free"
}

# What a stage is made from: its options but for layout and limits, its inputs from outside, and its needs' hashes. The
# run's own place is no part of it: a folder that was moved is as done as before.
hash_stage() {
    local name=$1 need counted
    counted=$(grep -vE "^($(may_change "${stage_job[$name]}" "${stage_options[$name]}")) = " <<< "${stage_options[$name]}")
    {
        echo "${stage_job[$name]}"
        echo "${counted//"$run_folder"/RUN}"
        for need in $(made_from "$name"); do echo "${stage_hash[$need]}"; done
        sed -nE "s/^(from|model|$path_keys|$path_list_keys) = \"?(\/[^\"]*)\"?\$/\2/p" <<< "$counted" |
            awk -v run="$run_folder/" 'index($0, run) != 1' | fingerprint
    } | sha256sum | cut -c 1-16
}

# What inputs are, for a hash: names, sizes, and the first and last 64 KiB of each file, which is all of a config.json. Not the time
# of a change: who touches files, so that a scratch file system does not purge them, changes nothing. All of a model or a corpus
# would take too long to read: a change that leaves size and both ends as they were counts only under another name.
fingerprint() { # < PATHS of files, folders, or token files without .bin and .idx
    local files
    # Links are followed: a model may be a folder of them.
    # shellcheck disable=SC2016 # the inner shell expands it
    files=$(sed 's/.*/&\n&.bin\n&.idx/' | xargs -r -d '\n' sh -c 'find -L "$@" -maxdepth 1 -type f 2> /dev/null || :' sh | LC_ALL=C sort -u)
    [[ -n $files ]] || return 0
    xargs -d '\n' stat -L --format='%n %s' <<< "$files"
    xargs -d '\n' head -q -c 64K <<< "$files"
    xargs -d '\n' tail -q -c 64K <<< "$files"
}

# The needs that a stage's output depends on. On held-out text a training is only measured: what it learned stays, whichever that is.
made_from() {
    local need
    for need in ${stage_needs[$1]}; do [[ $need == tokenize-valid && ${stage_job[$1]} =~ ^(train|distill)$ ]] || echo "$need"; done
}
