#!/usr/bin/env bash
# What slurm/pipeline makes of what Slurm's controller says, and of what it does not.
# usage: controller_test.sh FOLDER [TEST...]
set -euo pipefail
# shellcheck source=tests/cluster/controller_world.sh
source "$(dirname "$0")/controller_world.sh"

test_a_silent_controller() {
    new_run silent
    ends_with 0 pipeline "$ini"
    local submitted
    submitted=$(calls_of sbatch)
    echo 2 > fails.squeue
    ends_with 0 pipeline --resume "$ini"
    says "distill: job $(job_of distill) is in the queue"
    echo always > fails.squeue
    refuses "squeue does not answer" pipeline --resume "$ini"
    refuses "squeue does not answer" pipeline cancel "$ini"
    refuses "squeue does not answer" pipeline status "$ini"
    [[ $(calls_of sbatch) -eq $submitted ]] || complain "a queue that could not be read was taken for an empty one"
}

# What users set for their own looks at the queue.
test_a_part_of_the_queue() {
    new_run part
    ends_with 0 pipeline "$ini"
    SQUEUE_STATES=SUSPENDED ends_with 0 pipeline --resume "$ini"
    says "distill: job $(job_of distill) is in the queue"
    [[ $(calls_of sbatch) -eq 6 ]] || complain "jobs that squeue was told to hide were submitted again"
    run_to_end importance prune
    queue_is "103 COMPLETING:None"
    echo 3 > codes
    SQUEUE_STATES=SUSPENDED ends_with 3 start distill 103
    says "ended by request"
    # A queue that says nothing of a job that runs has not ended it.
    queue_is ""
    echo 3 > codes
    ends_with 3 start distill 103
    called "scontrol requeue 103"
}

test_what_to_say_next() {
    new_run next
    refuses "statsu: a FILE.ini comes with at most one command, status or cancel" pipeline statsu "$ini"
    refuses "at most one command" pipeline "$ini" "$ini"
    refuses "other.ini cannot be read" pipeline status other.ini
    ends_with 0 pipeline "$ini"
    says "how far it is: slurm/pipeline status $ini"
    run_to_end importance prune distill evaluate-teacher evaluate-student export
    queue_is ""
    ends_with 0 pipeline --resume "$ini"
    says "all stages are done; $run/export is the model"
}

test_a_lost_answer() {
    new_run lost
    echo 2 > unanswered
    ends_with 0 pipeline "$ini"
    says "prune: job 102, afterok:101"
    [[ $(calls_of sbatch) -eq 6 ]] || complain "a job that the controller had was submitted again"
    # Whoever was ended while sbatch waited has written down nothing.
    sed -i '$d' run/stages/distill/jobs
    ends_with 0 pipeline status "$ini"
    is_shown distill queued
    ends_with 0 pipeline --resume "$ini"
    says "distill: job 103 is in the queue"
    [[ $(calls_of sbatch) -eq 6 ]] || complain "a job that nobody wrote down was submitted again"
    [[ $(job_of distill) == 103 ]] || complain "it is written down as $(job_of distill)"
    sed -i '$d' run/stages/export/jobs
    # Others' comments may have lines of their own.
    echo "_a note, the second line" >> queue
    ends_with 0 pipeline cancel "$ini"
    called "scancel 106"
    # A request that is refused in earnest is no job of the stage before, nor of another run.
    new_run refused
    echo 1 > fails.sbatch
    refuses "importance: sbatch submitted nothing" pipeline "$ini"
    ends_with 0 pipeline --resume "$ini"
    says "importance: job 101"
}

test_two_at_once() {
    new_run two
    mkdir run
    exec 9> run/.lock
    flock 9
    refuses "another" pipeline "$ini"
    refuses "another" pipeline cancel "$ini"
    exec 9>&-
    ends_with 0 pipeline "$ini"
    ends_with 0 pipeline cancel "$ini"
}

test_a_job_that_failed_and_lingers() {
    new_run lingers
    ends_with 0 pipeline "$ini"
    run_to_end importance prune
    echo 3 > codes
    ends_with 3 start distill 103
    queue_is "103 COMPLETING:None" "104 PENDING:Priority" "105 PENDING:Dependency" "106 PENDING:Dependency"
    ends_with 0 pipeline --resume "$ini"
    says "distill: job 103 is in the queue"
    echo 2 > codes
    ends_with 2 start distill 103
    # What waits for it would go with it; what does not wait for it stays.
    ends_with 0 pipeline --dry-run --resume "$ini"
    says "scancel 105"
    says 'evaluate_student=$(sbatch --parsable --dependency=afterok:$distill'
    not_called "^scancel"
    ends_with 0 pipeline --resume "$ini"
    says "distill: job 107, afterany:103"
    says "evaluate-teacher: job 104 is in the queue"
    says "evaluate-student: job 108, afterok:107"
    says "export: job 109, afterok:107"
    called "scancel 105"
    called "scancel 106"
    not_called "^scancel.* 104"
    ends_with 0 pipeline --resume "$ini"
    says "export: job 109 is in the queue"
    # The same where it has left and they have not yet, but for what runs.
    echo 2 > codes
    ends_with 2 start distill 107
    queue_is "104 PENDING:Priority" "108 PENDING:Dependency" "109 RUNNING:None"
    ends_with 0 pipeline --resume "$ini"
    says "distill: job 110"
    says "evaluate-student: job 111, afterok:110"
    says "export: job 109 is in the queue"
}

# Of two that a stage waits for one runs, as a chain, which then has the new job to let go, not the one that was withdrawn.
test_a_chain_and_a_job_that_failed() {
    new_run chain
    edit 's/^\[distill\]/[correct]\ntokens = 64\n&/; s/^time = 60/&\n[resources.correct]\nlinks = 2/'
    ends_with 0 pipeline "$ini" # importance 101, correct 102 and 103, prune 104, distill 105
    run_to_end importance
    echo 2 > codes
    ends_with 2 start prune 104
    queue_is "102 RUNNING:None" "103 PENDING:Dependency" "104 COMPLETING:None" "105 PENDING:Dependency"
    echo always > fails.scancel
    ends_with 0 pipeline --resume "$ini"
    says "distill: scancel failed for 105"
    says "distill: job 110, afterok:109:103"
    [[ $(grep -cE '^(105|110) ' run/stages/correct/dependents) -eq 1 ]] || complain "correct lets go: $(cat run/stages/correct/dependents)"
    # It does nothing, should it start.
    run_to_end prune
    ends_with 3 start distill 105
    says "not queued again"
    not_called '^espalier distill'
}

test_cancel() {
    new_run cancel
    ends_with 0 pipeline "$ini"
    run_to_end importance prune
    queue_is "103 RUNNING:None" "104 RUNNING:None" "105 PENDING:Dependency" "106 PENDING:Dependency"
    ends_with 0 pipeline cancel "$ini"
    says "distill: stops at a checkpoint"
    called "scancel --signal=USR1 103"
    called "scancel 104"
    called "scancel 105"
    not_called "^scancel 103"
    # The chain that follows waits for what is on its way out, which does not queue itself again.
    queue_is "103 RUNNING:None"
    ends_with 0 pipeline --resume "$ini"
    says "distill: job 107, afterany:103"
    echo 3 > codes
    ends_with 3 start distill 103
    says "not queued again"
    not_called "^scontrol requeue"
    queue_is "107 RUNNING:None"
    echo 3 > codes
    ends_with 3 start distill 107
    called "scontrol requeue 107"
    # Told twice, it ends.
    ends_with 0 pipeline cancel "$ini"
    ends_with 0 pipeline cancel "$ini"
    called "scancel 107"
    echo always > fails.scancel
    queue_is "110 PENDING:Priority"
    ends_with 1 pipeline cancel "$ini"
    says "export: scancel failed for 110"
}

test_status() {
    new_run status
    edit 's/^time = 60/&\n[resources.distill]\nlinks = 3/'
    ends_with 0 pipeline "$ini"
    run_to_end importance prune
    queue_is "103 RUNNING:None" "104 PENDING:Dependency" "105 PENDING:Dependency"
    ends_with 0 pipeline status "$ini"
    is_shown distill running
    echo 2 > codes
    ends_with 2 start distill 103
    queue_is "107 PENDING:DependencyNeverSatisfied"
    ends_with 0 pipeline status "$ini"
    is_shown distill "failed (2)"
    is_shown evaluate-teacher "ended"
    says "sacct -j 106"
    printf '{\n "loss": 5.6135565525498805,\n "tokens": 12345678\n}\n' > run/stages/importance/summary.json
    ends_with 0 pipeline status "$ini"
    grep -q '^importance .*loss 5.614 ' said.txt || complain "a loss is not rounded: $(grep '^importance' said.txt)"
    printf '{\n "loss": null,\n "tokens": 12345678\n}\n' > run/stages/importance/summary.json
    ends_with 0 pipeline status "$ini"
    grep -q '^importance .*loss not a number ' said.txt || complain "a loss that is none is shown as one: $(grep '^importance' said.txt)"
    mkdir run/student
    ends_with 0 pipeline status "$ini"
    is_shown distill "failed (2)  *-  *-" # no step yet
    echo '{"step":5,"loss":null,"tokens_per_second":1000}' > run/student/metrics.jsonl
    ends_with 0 pipeline status "$ini"
    grep -q '^distill .*step 5/32, loss not a number ' said.txt || complain "a loss that is none is shown as one: $(grep '^distill' said.txt)"
    # Without Slurm, whoever runs a stage holds the run's lock, on whichever host; a number of a process says nothing.
    echo $$ > run/stages/export/running
    ends_with 0 "$project/scripts/pipeline" status "$ini"
    is_shown export ended
    exec 9> run/.lock
    flock 9
    echo 99999999 > run/stages/export/running
    ends_with 0 "$project/scripts/pipeline" status "$ini"
    is_shown export running
    exec 9>&-
    rm run/stages/export/running
    # Of a stage that started again, what the start before it had done is gone; without checkpoints none stops, its time is over.
    rm run/stages/evaluate-teacher/jobs
    echo 110 > run/stages/evaluate-teacher/jobs
    queue_is "110 RUNNING:None"
    echo "depth task    60 %  1.2 G tokens/s | 12 tokens/s | ETA 3:20" > run/stages/evaluate-teacher/log
    ends_with 0 pipeline status "$ini"
    is_shown evaluate-teacher "running  *60 %  *12 tokens/s  *3:20"
    echo "evaluate.sbatch: job 110 on n1, start 2, 2026-01-01 00:00:00" >> run/stages/evaluate-teacher/log
    ends_with 0 pipeline status "$ini"
    is_shown evaluate-teacher "running  *-  *-"
    queue_is ""
    echo 3 > run/stages/evaluate-teacher/ended
    ends_with 0 pipeline status "$ini"
    is_shown evaluate-teacher "timed out"
    # It needs none of the inputs, which may be gone by now, nor the program.
    rm model.h5
    edit "s|^espalier = .*|espalier = gone/espalier|"
    ends_with 0 pipeline status "$ini"
    is_shown importance "done"
    ends_with 0 pipeline cancel "$ini"
    refuses "the program $FAKE_SLURM/gone/espalier is not there" "$project/slurm/preflight" "$ini"
    touch model.h5
    refuses "the program $FAKE_SLURM/gone/espalier is not there" pipeline --resume "$ini"
}
is_shown() { grep -qE "^$1 +${2//[()]/.}( |\$)" said.txt || complain "$1 is not $2: $(grep "^$1 " said.txt)"; }

# Slurm removes at once what is submitted behind an array of which an element failed, though others still run.
test_an_array_that_failed() {
    new_search failed
    local array
    array=$(job_of candidates)
    queue_is "${array}_1 RUNNING:None"
    echo 2 > codes
    ends_with 2 element 1 "$array"
    queue_is "${array}_0 RUNNING:None"
    ends_with 0 pipeline status "$ini"
    is_shown candidates running
    ends_with 0 pipeline --resume "$ini"
    [[ $(job_of candidates) != "$array" ]] || complain "what waits for candidates was submitted behind the array that failed"
    grep -q "^sbatch .*--dependency=afterany:$array .*candidate.sbatch" calls || complain "the new array does not wait for the old one: $(grep candidate.sbatch calls)"
    grep -q "^sbatch .*--dependency=afterok:$(job_of candidates) .*choose.sbatch" calls || complain "choose does not wait for the new array: $(grep choose.sbatch calls)"
}

run_tests "${@:2}"
