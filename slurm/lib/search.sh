# For sourcing: candidates of a search as a job array. Each is cut, retrained and evaluated; the best by loss goes on.
# shellcheck shell=bash disable=SC2154

count_candidates() {
    python3 --version > /dev/null 2>&1 || { say "python3 does not run on $(hostname), which counts the candidates; load it in load_modules() of the cluster's file"; return 1; }
    python3 -c 'import json, sys; print(len(json.load(open(sys.argv[1]))["candidates"]))' "$1"
}

# run_candidate FOLDER K: the three steps of candidate K, each a stage of its own in FOLDER/K, as FOLDER/<step>.ini and
# <step>.env (with @K@ for the number) say.
run_candidate() {
    local folder=$1 k=$2 count step code
    # shellcheck source=/dev/null
    source "$folder/stage.env"
    count=$(count_candidates "$candidates") || { say "$candidates cannot be read"; return 1; }
    if [[ $k -ge $count ]]; then
        say "candidate $k: the search found fewer"
        return 0
    fi
    for step in prune distill evaluate; do
        mkdir -p "$folder/$k/$step"
        sed "s|@K@|$k|g" "$folder/$step.ini" | publish "$folder/$k/$step/job.ini"
        sed "s|@K@|$k|g" "$folder/$step.env" | publish "$folder/$k/$step/stage.env"
        code=0
        run_stage "$folder/$k/$step" || code=$?
        [[ $code -eq 0 ]] || return "$code"
    done
}

# candidate_done K: as candidates were last submitted; markers of a former search do not count.
candidate_done() { is_done "$candidate_folder/$1/evaluate" "$candidate_hash" "$candidate_folder/$1/evaluate/summary.json"; }

# Candidates that there are, at most as many as the array's elements.
candidates_to_rank() {
    local count
    count=$(count_candidates "$candidates") || return
    echo $((count < array ? count : array))
}

candidates_are_done() {
    local k count
    count=$(candidates_to_rank) || return
    for ((k = 0; k < count; ++k)); do candidate_done "$k" || return; done
}

# complete_array: for the stage of the choice, which is loaded
complete_array() {
    [[ -e $candidate_folder/done && $(< "$candidate_folder/done") == "$candidate_hash" ]] || ! candidates_are_done ||
        echo "$candidate_hash" | publish "$candidate_folder/done"
}

# The best candidate's cut becomes the model to distil.
choose_candidate() {
    local k count best="" least="" loss
    count=$(candidates_to_rank) || { say "$candidates cannot be read"; return 1; }
    for ((k = 0; k < count; ++k)); do
        candidate_done "$k" || { say "candidate $k is not done: $candidate_folder/$k"; return 2; }
        loss=$(json_value "$candidate_folder/$k/evaluate/summary.json" loss)
        [[ -n $loss ]] || { say "candidate $k has no loss yet: $candidate_folder/$k/evaluate/summary.json"; return 1; }
        if [[ -z $least ]] || awk -v a="$loss" -v b="$least" 'BEGIN { exit !(a < b) }'; then best=$k least=$loss; fi
    done
    [[ -n $best ]] || { say "$candidates: the search found no candidate; widen [search]"; return 2; }
    say "candidate $best is the best of $count: loss $least"
    ln -sfnr "$candidate_folder/$best/pruned.h5" "$output"
}
