# For sourcing by the batch scripts: what a job leaves behind, and what follows from its exit code.
# shellcheck shell=bash disable=SC2154

# Notes how the stage's job ends, for `status` and for links that follow, unless a signal ends this shell.
open_stage() {
    [[ -n ${SLURM_ARRAY_TASK_ID:-} ]] || leave_chain
    trap 'note_end $?' EXIT
}

# A link after one that gave up would give up too.
leave_chain() {
    local code
    code=$(failure_of "$stage_folder")
    if [[ -e $stage_folder/links && -n $code ]]; then
        say "a link before this one gave up with exit code $code; after putting it right: slurm/pipeline --resume"
        exit "$code"
    fi
    rm -f "$stage_folder"/{ended,scancelled}
}

# Of an array's elements, those that failed.
note_end() {
    [[ -n ${SLURM_ARRAY_TASK_ID:-} && ($1 -eq 0 || $1 -eq 3) ]] || echo "$1" > "$home_folder/ended"
}

# Exit code 3: work is left.
end_batch() {
    case $1 in
        0)
            say "done, $(date '+%F %T')"
            end_chain
            ;;
        3) leave_work "$(job_state)" ;;
    esac
    exit "$1"
}

# leave_work STATE: puts the job back into the queue, unless somebody ended it, or links of a chain follow.
leave_work() {
    if unwanted || asked_to_stop || { has_ended "$1" && ! was_preempted; }; then
        say "work is left; ended by request, not queued again"
        note_scancel "$1"
        return
    fi
    if [[ $1 == *:TimeLimit ]]; then
        case $job in train | distill | search | candidate) ;; *)
            say "$job needs more than its time limit, and has no checkpoints; $(in_or_out_of_a_pipeline "raise time in [resources], then slurm/pipeline --resume" "submit it with a longer --time")"
            return ;;
        esac
        say "the time limit came before the ranks had stopped; $(in_or_out_of_a_pipeline "raise signal in [resources]" "submit it with --signal=USR1@SECONDS, more of them")"
    fi
    if [[ ! -e $home_folder/links ]]; then
        say "work is left; queued again"
        ask scontrol requeue "$batch_id" || say "scontrol failed; slurm/pipeline --resume goes on"
    elif is_last_link; then
        say "work is left, and no job follows this one; slurm/pipeline --resume submits more"
    else
        say "work is left for the next link"
    fi
}

# in_or_out_of_a_pipeline A B: what its user can do
in_or_out_of_a_pipeline() { if [[ -e $home_folder/stage.env ]]; then echo "$1"; else echo "$2"; fi; }

# note_scancel STATE: of a stage's job that its user ended without slurm/pipeline, or that lost a node: then Slurm starts it again, which
# takes the note back. Links that follow go on in any case, and an element's note would hold for its whole array.
note_scancel() {
    [[ $1 != COMPLETING:None || -n ${SLURM_ARRAY_TASK_ID:-} || ! -e $home_folder/stage.env ]] || is_followed_by_a_link || touch "$home_folder/scancelled"
}

# STATE:REASON as the controller sees the job; one that scancel or a preemption ended is COMPLETING:None. Where the controller says
# nothing of it, it runs: so does this.
job_state() {
    local states
    states=$(ask squeue --noheader --jobs="$batch_id" --format=%T:%r 2> /dev/null) || true
    head -n 1 <<< "${states:-RUNNING:None}"
}

# has_ended STATE: other than by its time limit
has_ended() { [[ $1 != RUNNING:* && $1 != *:TimeLimit ]]; }

# By PreemptMode=CANCEL; with REQUEUE the controller shows no such time, and queues the job again itself.
was_preempted() { [[ $(ask scontrol show job "$batch_id" 2> /dev/null) == *PreemptTime=[0-9]* ]]; }

is_followed_by_a_link() { [[ -e $home_folder/links ]] && ! is_last_link; }
is_last_link() { [[ $(tail -n 1 "$home_folder/jobs") == "${batch_id%%_*}" ]]; }

# A chain that is done before its last link lets go of who waits for that one, and then of the links that are left. If the
# controller will not have it, the links start, find the stage done, and end.
end_chain() {
    local last job waits_for left
    is_followed_by_a_link || return 0
    last=$(tail -n 1 "$home_folder/jobs")
    while read -r job waits_for; do
        waits_for=$(sed -E "s/:$last(:|,|\$)/:$batch_id\\1/" <<< "$waits_for")
        ask scontrol update "JobId=$job" "Dependency=$waits_for" || { say "scontrol failed; what follows waits for the links that are left"; return 0; }
    done < <(cat "$home_folder/dependents" 2> /dev/null)
    mapfile -t left < <(sed "0,/^$batch_id\$/d" "$home_folder/jobs") # 1,/x/ never ends at the first line
    ask scancel "${left[@]}" || say "scancel failed; the links that are left will find nothing to do"
}
