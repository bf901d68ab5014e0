# For sourcing: what is asked of Slurm's controller, which answers late or not at all when it is busy.
# shellcheck shell=bash disable=SC2034,SC2154

# Variables by which users make squeue and scancel show or end a part of their jobs only.
unset "${!SQUEUE_@}" "${!SCANCEL_@}" SLURM_CLUSTERS

# ask COMMAND...: up to three times, with pauses. Prints what the command said that ended well.
ask() {
    local pause said
    for pause in 5 20 0; do
        if said=$("$@"); then
            [[ -z $said ]] || echo "$said"
            return 0
        fi
        [[ $pause -eq 0 ]] || sleep "$pause"
    done
    return 1
}

# The user's jobs that have not ended: queue_state[id] = STATE:REASON, of an array's elements each, queue_ids[id] = the
# elements' ids, or the job's own, and queue_comment[id] = what the job was submitted with, a stage's folder. A queue that cannot
# be read is not taken for an empty one.
declare -gA queue_state queue_ids queue_comment
read_queue() {
    local lines id state comment
    queue_state=() queue_ids=() queue_comment=()
    command -v squeue > /dev/null || return 0
    lines=$(ask squeue --noheader --me --format='%i|%T:%r|%k') ||
        refuse "squeue does not answer, so nobody knows what is in the queue; try again when \`scontrol ping\` says UP"
    while IFS='|' read -r id state comment; do
        [[ $id =~ ^[0-9] ]] || continue # else a line of somebody's comment
        queue_state[$id]=$state
        queue_ids[${id%%_*}]+="${queue_ids[${id%%_*}]:+ }$id"
        queue_comment[${id%%_*}]=$comment
    done <<< "$lines"
}

# A stage's jobs that are in the queue without being in its file: sbatch gave up waiting, or was ended, when the controller had
# taken them.
unrecorded_jobs() {
    local job folder
    folder=$(stage_folder_of "$1")
    for job in "${!queue_comment[@]}"; do
        if [[ ${queue_comment[$job]} == "$folder" ]] && ! grep -qxF "$job" "$folder/jobs" 2> /dev/null; then echo "$job"; fi
    done | sort -n
}

# Stages of this run that its file has no longer, with jobs in the queue all the same: they would overwrite what others make.
# Those that were submitted last come first.
former_stages() {
    local job name
    for job in $(printf '%s\n' "${!queue_comment[@]}" | sort -rn); do
        name=${queue_comment[$job]#"$run_folder/stages/"}
        [[ ! $name =~ ^[a-z-]+$ || -n ${stage_job[$name]:-} ]] || echo "$name"
    done | awk '!said[$0]++'
}

# recall_stage NAME: such a one, as it was submitted
recall_stage() {
    local folder
    folder=$(stage_folder_of "$1")
    stage_job[$1]=$(sed -n 's/^job=//p' "$folder/stage.env" 2> /dev/null) || true
    stage_options[$1]=$(cat "$folder/job.ini" 2> /dev/null) || true
}

# record_jobs NAME: from now on they are jobs like others.
record_jobs() {
    local job folder
    folder=$(stage_folder_of "$1")
    while read -r job; do
        mkdir -p "$folder"
        echo "$job" >> "$folder/jobs"
    done < <(unrecorded_jobs "$1")
}

# The job of a stage that sbatch reports as failed, where the controller has it all the same.
taken_job() {
    sleep 5
    read_queue
    unrecorded_jobs "$1" | tail -n 1 | grep .
}

# The ids of a stage's jobs that will run, or run, elements of an array each. Those whose dependency failed never start.
live_ids() {
    local id
    while read -r id; do
        if ! is_leaving "$(stage_folder_of "$1")" "$id" && [[ ${queue_state[$id]} != *:DependencyNeverSatisfied ]]; then echo "$id"; fi
    done < <(queued_ids "$1")
}
ending_ids() {
    local id
    while read -r id; do
        if is_leaving "$(stage_folder_of "$1")" "$id"; then echo "$id"; fi
    done < <(queued_ids "$1")
}
# Cancelled, or done with its work, in vain; a node may take minutes to let go of a job. What waits for an array would wait for the
# element that failed, whatever the others do.
is_leaving() { was_cancelled "$1" "$2" || { [[ ${queue_state[$2]} == COMPLETING:* || $2 == *_* ]] && [[ -n $(failure_of "$1") ]]; }; }
queued_ids() {
    local job
    while read -r job; do
        [[ -z ${queue_ids[$job]:-} ]] || tr ' ' '\n' <<< "${queue_ids[$job]}"
    done < <(cat "$(stage_folder_of "$1")/jobs" 2> /dev/null; unrecorded_jobs "$1")
}
in_queue() { [[ -n $(live_ids "$1") ]]; }

# Of a stage in the queue: no job of it has begun.
only_waits() {
    local id
    while read -r id; do [[ ${queue_state[$id]} == PENDING:* ]] || return 1; done < <(live_ids "$1")
}

# The job that ends a stage: the last link of its chain.
last_job_of() {
    local id
    id=$(live_ids "$1" | tail -n 1)
    echo "${id%%_*}"
}

# The liveliest state of a stage's jobs: of links that follow each other, and of an array's elements.
queue_state_of() {
    local id state first=""
    while read -r id; do
        state=${queue_state[$id]}
        [[ $state == PENDING:* ]] || { echo "$state"; return; }
        first=${first:-$state}
    done < <(live_ids "$1"; ending_ids "$1")
    echo "$first"
}
