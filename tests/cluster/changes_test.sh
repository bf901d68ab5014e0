#!/usr/bin/env bash
# What slurm/pipeline takes for the same run, and what for another, when a pipeline's file or its inputs change.
# usage: changes_test.sh FOLDER [TEST...]
set -euo pipefail
# shellcheck source=tests/cluster/controller_world.sh
source "$(dirname "$0")/controller_world.sh"

test_a_changed_file() {
    new_run changed
    ends_with 0 pipeline "$ini"
    run_to_end importance prune
    queue_is "103 PENDING:Priority" "105 PENDING:Dependency"
    edit 's/^tokens = 1024/tokens = 2048/'
    refuses "in the queue with other settings" pipeline --resume "$ini"
    [[ $(calls_of sbatch) -eq 6 ]] || complain "stages were submitted before one was refused"
    edit 's/^tokens = 2048/tokens = 1024\nmicro-batch = 2/'
    ends_with 0 pipeline --resume "$ini"
    says "distill: job 103 is in the queue, with its former layout and limits"
    # A dependency that failed is nothing to wait for.
    queue_is "103 PENDING:DependencyNeverSatisfied"
    ends_with 0 pipeline --resume "$ini"
    says "distill: job 109"
    grep -q '^micro-batch = 2' run/stages/distill/job.ini || complain "a new job reads the former options"
}

test_another_search() {
    new_search another
    local k
    rank 0 2.5
    rank 1 2.25
    for k in 0 1 2; do ends_with 0 element "$k" "90$k"; done
    [[ -e run/stages/candidates/done ]] || complain "the array is not done with its last element"
    # Where the last two did not see each other's end, the choice does.
    rm run/stages/candidates/done
    mv run/stages/candidates/1/evaluate/done held-back
    refuses "candidates is not done" start choose "$(job_of choose)"
    mv held-back run/stages/candidates/1/evaluate/done
    run_to_end choose
    [[ $(readlink run/pruned.h5) == */1/pruned.h5 ]] || complain "the wrong candidate: $(readlink run/pruned.h5)"
    mv run elsewhere
    [[ -e elsewhere/pruned.h5 ]] || complain "a folder that was moved has lost its cut: $(readlink elsewhere/pruned.h5)"
    mv elsewhere run
    queue_is ""
    edit 's/^array = 3/array = 3\nhidden = 4,8/'
    refuses "was begun with other settings" pipeline --resume "$ini"
    ends_with 0 pipeline status "$ini"
    says_nothing_of "2 of at most 3 candidates"
    # Cuts alone bind nobody, but are no candidates of the new search.
    rm -r run/stages/candidates/[01]/run
    ends_with 0 pipeline --resume "$ini"
    echo '{"candidates": [{}, {}]}' > run/candidates.json
    ends_with 0 element 2 "$(job_of candidates)"
    [[ $(< run/stages/candidates/done) != $(sed -n 's/^hash=//p' run/stages/candidates/stage.env) ]] || complain "candidates of a former search end the new one"
    refuses "candidates is not done" start choose "$(job_of choose)"
    mkdir without
    printf '#!/bin/sh\nexit 127\n' > without/python3
    chmod +x without/python3
    PATH=$FAKE_SLURM/without:$PATH ends_with 1 element 0 "$(job_of candidates)"
    says "python3 does not run on $(hostname)"
    rm run/candidates.json
    ends_with 1 element 0 "$(job_of candidates)"
    says "cannot be read"
}

# A search that becomes a shape: its stages are in the file no longer, but in the queue.
test_stages_that_the_file_lost() {
    new_search lost
    local candidates choose
    candidates=$(job_of candidates) choose=$(job_of choose)
    queue_is "${candidates}_[1-2%2] PENDING:Resources" "${candidates}_0 RUNNING:None" "$choose PENDING:Dependency" "990 PENDING:Priority"
    echo "990 $FAKE_SLURM/other/stages/candidates" >> comments
    edit '/^array/d; /^retrain-tokens/d; s/^\[search\]/[prune]\nhidden = 4/'
    refuses "choose: job $choose is in the queue, but no stage of $ini any more; first: slurm/pipeline cancel $ini" pipeline --resume "$ini"
    ends_with 0 pipeline cancel "$ini"
    called "scancel $choose"
    called "scancel ${candidates}_[1-2]"
    called "scancel --signal=USR1 ${candidates}_0"
    not_called '^scancel.* 990'
    ends_with 0 pipeline --resume "$ini"
    run_to_end prune
    ends_with 3 start choose "$choose"
    [[ ! -L run/pruned.h5 ]] || complain "a former search's choice replaced the new cut"
    # Also those that nobody wrote down.
    rm -r run/stages/choose
    refuses "choose: job $choose is in the queue" pipeline --resume "$ini"
    ends_with 0 pipeline cancel "$ini"
    grep -qx "$choose" run/stages/choose/cancelled || complain "a job that nobody wrote down is not noted as cancelled"
}

test_what_may_change() {
    new_run may_change
    ends_with 0 pipeline "$ini"
    queue_is ""
    run_to_end importance prune
    # A start that was refused holds nobody to its settings; one that learned does.
    echo 2 > codes
    ends_with 2 start distill 103
    edit 's/^seq-len = 8/seq-len = 4/'
    ends_with 0 pipeline --resume "$ini"
    queue_is ""
    mkdir -p run/student
    echo '{"step":1}' > run/student/metrics.jsonl
    echo 3 > codes
    ends_with 3 start distill "$(job_of distill)"
    edit 's/^seq-len = 4/&\nrecompute = full\nteacher-tp = 1\nlog-level = debug/'
    ends_with 0 pipeline --resume "$ini"
    queue_is ""
    edit 's/^seq-len = 4/seq-len = 8/'
    refuses "begun with other settings" pipeline --resume "$ini"
}

# By what is in them, behind links as well; not by when they were touched.
test_changed_inputs() {
    new_run inputs
    mkdir blobs hub
    echo "weights 1" > blobs/1
    echo "weights 2" > blobs/2
    ln -s ../blobs/1 hub/model.safetensors
    echo "{}" > hub/config.json
    echo "tokens 1" > blobs/tokens
    ln -s ../blobs/tokens tokens/train.bin
    edit 's/^model = .*/model = hub/'
    ends_with 0 pipeline "$ini"
    run_to_end import importance prune
    touch -d tomorrow blobs/* hub/*
    is_next distill
    echo "tokens 2" > blobs/tokens
    is_next importance
    echo "tokens 1" > blobs/tokens
    ln -sf ../blobs/2 hub/model.safetensors
    is_next import
    # Of a large file both ends are looked at.
    truncate -s 1M blobs/2
    ends_with 0 pipeline --resume "$ini"
    run_to_end import importance prune
    is_next distill
    printf x | dd of=blobs/2 bs=1 seek=1048575 conv=notrunc status=none
    is_next import
}

run_tests "${@:2}"
