# For sourcing: writes the folder of a stage, from which run.sh runs it.
# shellcheck shell=bash disable=SC2154

# job_lines JOB SUMMARY OPTIONS: what the program reads. Outputs of single-shot jobs are replaced: a stage without its marker is
# not done. What run_of names goes on.
job_lines() {
    printf '%s\n' "[$1]" "$3" "summary = $2"
    case $1 in train | distill | search) ;; *) echo "force = true" ;; esac
}
job_text() { job_lines "${stage_job[$1]}" "$(stage_folder_of "$1")/summary.json" "${stage_options[$1]}"; }

# job_environment NAME JOB OUTPUT: what run_stage reads, of a stage or of a step of its candidates.
job_environment() {
    local need
    printf '%s=%q\n' job "$2" hash "${stage_hash[$1]}" output "$3" espalier "$espalier" cluster "$cluster_file"
    for need in $(made_from "$1"); do printf 'needs+=(%q)\n' "${stage_hash[$need]} $(stage_folder_of "$need")"; done
}

# What the stages of a search's candidates read besides.
search_environment() {
    printf '%s=%q\n' candidates "$run_folder/candidates.json" array "${ini[search.array]}" candidate_folder "$candidate_folder" \
        candidate_hash "${stage_hash[candidates]}"
}

# Writes the folder of a stage.
write_stage() {
    local name=$1 folder job=${stage_job[$1]} step k output
    folder=$(stage_folder_of "$name")
    mkdir -p "$folder"
    job_text "$name" | publish "$folder/job.ini"
    {
        job_environment "$name" "$job" "${stage_output[$name]}"
        case $job in candidate | choose) search_environment ;; esac
    } | publish "$folder/stage.env"
    [[ $job == candidate ]] || return 0
    k=$folder/@K@
    for step in prune distill evaluate; do
        case $step in
            prune) output=$k/pruned.h5 ;;
            distill) output=$k/run/model.h5 ;;
            evaluate) output=$k/evaluate/summary.json ;;
        esac
        job_lines "$step" "$k/$step/summary.json" "$(step_options "$name" "$step")" | publish "$folder/$step.ini"
        job_environment "$name" "$step" "$output" | publish "$folder/$step.env"
    done
}
