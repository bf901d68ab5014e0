#!/usr/bin/env bash
# How jobs of slurm/pipeline begin and end: requests to stop, deaths, time limits, elements of an array.
# usage: batch_test.sh FOLDER [TEST...]
set -euo pipefail
# shellcheck source=tests/cluster/controller_world.sh
source "$(dirname "$0")/controller_world.sh"

test_an_array() {
    new_search array
    local array code
    array=$(job_of candidates)
    # The last element has the array's own id, for which squeue lists all of them.
    queue_is "${array}_[1-2%2] PENDING:Resources" "${array}_0 RUNNING:None"
    printf '%s\n' 0 3 > codes
    ends_with 3 element 0 "$array"
    called "scontrol requeue ${array}_0"
    not_called "^scontrol requeue $array\$"
    ends_with 0 pipeline cancel "$ini"
    called "scancel --signal=USR1 ${array}_0"
    called "scancel ${array}_[1-2]"
    # One that is told between its steps begins no other.
    ends_with 3 element 0 "$array"
    says "not queued again"
    # Who submits it again has put right what its elements died of.
    for code in 1 3; do
        queue_is ""
        ends_with 0 pipeline --resume "$ini"
        array=$(job_of candidates)
        queue_is "${array}_1 RUNNING:None"
        printf '%s\n' 1 1 1 > codes
        [[ $code -eq 3 ]] || for _ in 1 2; do ends_with 3 element 1 "$array"; done
        ends_with "$code" element 1 "$array"
    done
    : > codes
    # Where jobs may not queue themselves, nobody says that they did.
    queue_is ""
    printf '%s\n' '[resources.candidates]' 'requeue = no' >> "$ini"
    ends_with 0 pipeline --resume "$ini"
    array=$(job_of candidates)
    queue_is "${array}_1 RUNNING:None"
    printf '%s\n' 0 3 > codes
    : > calls
    ends_with 3 element 1 900
    says "no job follows"
    not_called "^scontrol"
}

test_a_search() {
    new_run search
    edit 's/^\[prune\]/[search]\nretrain-tokens = 64/; /^hidden/d'
    ends_with 0 pipeline "$ini"
    grep -q '^sbatch .*--signal=USR1@300 .*/search.sbatch' calls || complain "its time limit is not announced"
    is_measured_on search "$FAKE_SLURM/tokens/valid"
    ! grep -q '^force' run/stages/search/job.ini || complain "each start would forget what was measured"
    run_to_end importance
    queue_is "102 RUNNING:None"
    local measured=run/candidates.json.runs/results.jsonl
    mkdir -p run/candidates.json.runs
    # Deaths count from the last loss on.
    for _ in 1 2 3 4; do
        echo 1 > codes
        ends_with 3 start search 102
        mkdir -p "$(dirname $measured)"
        echo '{"loss": 2.5}' >> $measured
    done
    [[ $(wc -l < $measured) -eq 4 ]] || complain "a start forgot what was measured"
    # And from a candidate's last checkpoint on, before it has a loss as well.
    local step
    rm $measured
    for step in 8 16 24 32; do
        mkdir -p run/candidates.json.runs/candidate-3/run
        echo "step-$step" > run/candidates.json.runs/candidate-3/run/latest
        echo 1 > codes
        ends_with 3 start search 102
    done
    echo '{"loss": 2.5}' > $measured
    printf '%s\n' 1 1 1 > codes
    ends_with 3 start search 102
    ends_with 3 start search 102
    ends_with 1 start search 102
    says "not started again"
    called "scontrol requeue 102"
    ends_with 0 pipeline cancel "$ini"
    called "scancel --signal=USR1 102"
    queue_is ""
    edit 's/^retrain-tokens = 64/&\nvalid-every = 2/'
    ends_with 0 pipeline --resume "$ini"
    ends_with 0 start search "$(job_of search)"
    [[ ! -e $measured ]] || complain "losses of another search are gone on with"
    # Its list comes last, by rename.
    rm run/stages/search/done
    ends_with 0 start search "$(job_of search)"
    [[ $(calls_of 'espalier search') -eq 12 ]] || complain "a search that was done ran again"
    # Candidates are ranked by held-out text, once that is there, or by text of the search's own.
    new_run search_by_text
    touch text
    edit 's/^\[prune\]/[tokenize]\nvalid = text\n[search]\nretrain-tokens = 64/; /^hidden/d; /^valid = tokens/d'
    ends_with 0 pipeline "$ini"
    says "search: job 103, afterok:102:101"
    is_measured_on search "$run/valid"
    edit 's|^retrain-tokens|valid = own\n&|'
    queue_is ""
    ends_with 0 pipeline --resume "$ini"
    is_measured_on search "$FAKE_SLURM/own"
}

test_a_corrected_teacher() {
    new_run corrected
    edit 's/^\[distill\]/[correct]\ntokens = 64\n&\nvalid-every = 2/'
    mkdir -p tokens
    touch tokens/{valid,other}.idx
    ends_with 0 pipeline "$ini"
    is_measured_on correct "$FAKE_SLURM/tokens/valid"
    is_measured_on distill "$FAKE_SLURM/tokens/valid"
    grep -qx 'valid-every = 2' run/stages/correct/job.ini || complain "a corrected teacher is measured at its end only"
    run_to_end importance correct prune
    # What it learned does not depend on that.
    queue_is ""
    edit 's|tokens/valid|tokens/other|'
    ends_with 0 pipeline --resume "$ini"
    says "correct: done"
    is_measured_on distill "$FAKE_SLURM/tokens/other"
    queue_is ""
    rm run/stages/correct/done
    edit 's|^tokens = 64|&\nvalid = /own|'
    ends_with 0 pipeline --resume "$ini"
    is_measured_on correct /own
}
is_measured_on() { # STAGE PREFIX
    [[ $(sed -n 's/^valid = //p' "run/stages/$1/job.ini") == "$2" ]] || complain "$1: $(grep '^valid = ' "run/stages/$1/job.ini")"
}

test_deaths() {
    new_run deaths
    ends_with 0 pipeline "$ini"
    run_to_end importance prune
    queue_is "103 RUNNING:None"
    # The nodes are away now and then; between those times they were there.
    local several=SLURM_JOB_NUM_NODES=2 step
    for step in 1 2 3; do
        echo 1 > fails.srun
        ends_with 3 start distill 103 "$several"
        learned "$step"
        echo 3 > codes
        ends_with 3 start distill 103 "$several"
    done
    echo 4 > fails.srun
    ends_with 3 start distill 103 "$several"
    ends_with 3 start distill 103 "$several"
    ends_with 1 start distill 103 "$several"
    says "the nodes could not be reached"
    echo 0 > fails.srun
    # srun's own code hides what the ranks ended with.
    echo 143 > codes
    ends_with 3 start distill 103
    echo 143 > codes
    echo 2 > rank_code
    ends_with 2 start distill 103
    rm rank_code
    # With GPUs on the node the processor is no choice of the program's.
    ends_with 0 start distill 103 SLURM_GPUS_ON_NODE=4
    grep -q '^espalier distill .*--device=cuda' calls || complain "the program was not told of the GPUs"
    edit 's/^\[evaluate\]/&\ndevice = cpu/'
    queue_is ""
    ends_with 0 pipeline --resume "$ini"
    ends_with 0 start evaluate-teacher "$(job_of evaluate-teacher)" SLURM_GPUS_ON_NODE=4
    not_called '^espalier evaluate .*--device'
}

# learned STEP: so far the distillation came
learned() { mkdir -p run/student && echo "step-$1" > run/student/latest; }

# Whose time is up before a step is done gets no further next time; a checkpoint between the starts is all it takes.
test_stops_without_a_step() {
    new_run stops
    ends_with 0 pipeline "$ini"
    run_to_end importance prune
    queue_is "103 RUNNING:None"
    local step
    for step in 8 16 24 32; do
        learned "$step"
        echo 3 > codes
        ends_with 3 start distill 103
    done
    # Whom others told to stop did not do so by itself.
    queue_is "103 COMPLETING:Preempted"
    for _ in 1 2 3; do
        echo 3 > codes
        ends_with 3 start distill 103
    done
    queue_is "103 COMPLETING:TimeLimit"
    echo 3 > codes
    ends_with 3 start distill 103
    : > calls
    echo 3 > codes
    ends_with 1 start distill 103
    says "stopped three times at step-32 without a step; raise time, or lower signal"
    not_called '^scontrol requeue'
    queue_is ""
    ends_with 0 pipeline status "$ini"
    grep -q '^distill  *failed (1)' said.txt || complain "status: $(grep '^distill' said.txt)"
}

test_an_output_that_is_missing() {
    new_run missing
    ends_with 0 pipeline "$ini"
    touch silent
    ends_with 1 start importance 101
    says "importance.h5 is missing; not taken as done"
    is_next importance
}

test_a_time_limit() {
    new_run limit
    ends_with 0 pipeline "$ini"
    # Without checkpoints another start would get no further.
    queue_is "101 COMPLETING:TimeLimit"
    echo 143 > codes
    ends_with 3 start importance 101
    says "raise time in [resources]"
    not_called '^scontrol requeue'
    run_to_end importance prune
    # A checkpoint that outlasts the warning is one all the same.
    queue_is "103 COMPLETING:TimeLimit"
    echo 3 > codes
    ends_with 3 start distill 103
    says "raise signal in [resources]"
    called "scontrol requeue 103"
    # Somebody's own scancel is heeded.
    queue_is "103 COMPLETING:None"
    : > calls
    echo 3 > codes
    ends_with 3 start distill 103
    says "ended by request"
    not_called '^scontrol requeue'
    queue_is ""
    ends_with 0 pipeline status "$ini"
    grep -q '^distill  *cancelled ' said.txt || complain "status does not know what scancel ended: $(grep '^distill' said.txt)"
    # A lost node looks like that, and then Slurm starts the job again.
    learned 8
    echo 3 > codes
    ends_with 3 start distill 103
    says "queued again"
    ends_with 0 pipeline status "$ini"
    grep -q '^distill  *stopped ' said.txt || complain "a job that started again is none that was ended: $(grep '^distill' said.txt)"
    ends_with 0 pipeline --resume "$ini"
    queue_is "$(job_of distill) COMPLETING:Preempted"
    echo 3 > codes
    ends_with 3 start distill "$(job_of distill)"
    called "scontrol requeue $(job_of distill)"
}

# Who gives way to others as often as need be has not died.
test_preemptions() {
    new_run preempted
    ends_with 0 pipeline "$ini"
    queue_is "101 COMPLETING:Preempted"
    for _ in 1 2 3 4; do
        echo 143 > codes
        ends_with 3 start importance 101
    done
    # Told to, before Slurm does it itself.
    queue_is "101 RUNNING:None"
    mkfifo hangs
    local ranks
    for _ in 1 2 3 4; do
        echo hang > codes
        SLURM_JOB_ID=101 "$project/slurm/importance.sbatch" "$run/stages/importance/job.ini" > told.txt 2>&1 &
        read -r ranks < hangs
        kill -TERM $! "$ranks"
        ends_with 3 wait $!
    done
    [[ $(calls_of 'scontrol requeue') -eq 8 ]] || complain "queued again $(calls_of 'scontrol requeue') times"
    for _ in 1 2; do
        echo 143 > codes
        ends_with 3 start importance 101
    done
    echo 143 > codes
    ends_with 143 start importance 101
}

test_a_marker_that_cannot_be_written() {
    new_run marker
    ends_with 0 pipeline "$ini"
    mkdir full
    printf '#!/bin/sh\nfor last; do :; done\ncase $last in */done) exit 1 ;; esac\nexec /bin/mv "$@"\n' > full/mv
    chmod +x full/mv
    PATH=$FAKE_SLURM/full:$PATH ends_with 1 start importance 101
    says "not taken as done"
    ! compgen -G 'run/stages/importance/*.part.*' > leftover.txt || complain "left over: $(< leftover.txt)"
    # Nor where a former start left the run's output without it.
    run_to_end importance prune distill
    rm run/stages/distill/done
    PATH=$FAKE_SLURM/full:$PATH ends_with 1 start distill 103
    says "not taken as done"
}

test_a_controller_that_is_away() {
    new_run away
    ends_with 0 pipeline "$ini"
    queue_is "101 RUNNING:None"
    echo 2 > fails.scontrol
    echo 3 > codes
    ends_with 3 start importance 101
    [[ $(grep -cx "scontrol requeue 101" calls) -eq 3 ]] || complain "a requeue that failed was not tried again"
    echo always > fails.scontrol
    echo 3 > codes
    ends_with 3 start importance 101
    says "slurm/pipeline --resume goes on"
    # Slurm's copy of the script: the folder comes with the environment, else from the controller.
    cp "$project/slurm/importance.sbatch" slurm_script
    : > calls
    ends_with 0 env SLURM_JOB_ID=101 "ESPALIER_SLURM=$project/slurm" ./slurm_script run/stages/importance/job.ini
    not_called '^scontrol'
    refuses "slurm/lib is not found; export ESPALIER_SLURM=<checkout>/slurm" env SLURM_JOB_ID=101 ./slurm_script run/stages/importance/job.ini
    echo "$project/slurm/importance.sbatch" > script
    echo 2 > fails.scontrol
    ends_with 0 env SLURM_JOB_ID=101 ./slurm_script run/stages/importance/job.ini
    says "done already"
}

test_other_environments() {
    new_run environments
    printf 'load_modules() { echo "modules: $OF_NOBODY"; }\n' > site.env
    edit 's/^model = .*/&\ncluster = site.env/'
    ends_with 0 pipeline "$ini"
    echo 143 > codes
    echo 2 > rank_code
    ends_with 2 start importance 101 SLURM_EXPORT_ENV=NONE
    says "modules:"
    # One that is not there says which file names it.
    printf '%s\n' 'load_modules() {' '    name=$(false; echo gcc)' '    if false; then :; fi' '    echo "$name" loaded' '    ls no/such/module' '    echo more' '}' > site.env
    refuses "$FAKE_SLURM/site.env: load_modules() failed" start importance 101
    says "gcc loaded"
    says_nothing_of more
    [[ $(< run/stages/importance/ended) == 2 ]] || complain "it ended with $(< run/stages/importance/ended)"
    printf '%s\n' 'load_modules() { false || true; }' > site.env
    rm rank_code
    echo 1 > codes
    ends_with 3 start importance 101
}

test_a_file_system_that_is_late() {
    new_run late
    ends_with 0 pipeline "$ini"
    mkdir late blind
    # A stand-in for a node that does not see it; here it is there.
    printf '#!/bin/sh\nexit 9\n' > blind/srun
    chmod +x blind/srun
    PATH=$FAKE_SLURM/blind:$PATH refuses "not seen by every node" start importance 101 SLURM_JOB_NUM_NODES=2
    [[ ! -e run/stages/importance/.seen-by-all.101 ]] || complain "the token is left over"
    printf '#!/bin/sh\ncase $1 in */.seen-by-all.*) ;; *) exec /bin/touch "$@" ;; esac\n' > late/touch
    chmod +x late/touch
    PATH=$FAKE_SLURM/late:$PATH refuses "not seen by every node" start importance 101 SLURM_JOB_NUM_NODES=2
    echo "$run/stages/importance/.seen-by-all.101" > appears
    PATH=$FAKE_SLURM/late:$PATH ends_with 0 start importance 101 SLURM_JOB_NUM_NODES=2
}

test_a_request_to_stop() {
    new_run stop
    ends_with 0 pipeline "$ini"
    run_to_end importance prune
    queue_is "103 RUNNING:None"
    mkdir -p run/student
    touch run/student/stop
    echo 3 > codes
    ends_with 3 start distill 103
    says "not queued again"
    not_called "^scontrol requeue"
    echo 3 > codes
    ends_with 3 "$project/scripts/pipeline" --ranks 1 --resume "$ini"
    says "distill: stopped, with work left"
}

# Without Slurm: who ends the launcher ends the stage, and there is one launcher at a time.
test_an_interrupt() {
    new_run interrupted
    mkfifo hangs
    interrupt_at importance hang
    interrupt_at distill 0 0 hang # after importance and prune
    ends_with 0 "$project/scripts/pipeline" --ranks 1 --resume "$ini"
    ends_with 0 "$project/scripts/pipeline" status "$ini"
    [[ $(grep -c ' done ' said.txt) -eq 6 ]] || complain "not all is done: $(cat said.txt)"
    not_called '^(s(batch|queue|cancel|control|info|run)) '
}
interrupt_at() {
    local stage=$1 ranks code=0 resume=("$project/scripts/pipeline" --ranks 1 --resume "$ini")
    shift
    printf '%s\n' "$@" > codes
    "${resume[@]}" > local.txt 2>&1 &
    read -r ranks < hangs
    refuses "another pipeline command" "${resume[@]}"
    kill -TERM $!
    wait $! || code=$?
    [[ $code -eq 130 ]] || complain "exit code $code of an interrupted pipeline: $(cat local.txt)"
    ! kill "$ranks" 2> /dev/null || complain "the ranks of $stage outlive the launcher"
    [[ $(calls_of "espalier $stage") -eq 1 ]] || complain "$stage was begun again"
}

run_tests "${@:2}"
