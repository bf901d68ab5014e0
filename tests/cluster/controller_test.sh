#!/usr/bin/env bash
# What slurm/pipeline and slurm/preflight make of what Slurm's controller says, and of what it does not.
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

test_another_search() {
    new_search another
    local k
    rank 0 2.5
    rank 1 2.25
    for k in 0 1 2; do ends_with 0 element "$k" "90$k"; done
    [[ -e run/stages/candidates/done ]] || complain "the array is not done with its last element"
    run_to_end choose
    [[ $(readlink run/pruned.h5) == */1/pruned.h5 ]] || complain "the wrong candidate: $(readlink run/pruned.h5)"
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
    rm run/candidates.json
    ends_with 1 element 0 "$(job_of candidates)"
    says "cannot be read"
}

test_an_array_that_is_too_long() {
    new_run too_long
    edit 's/^\[prune\]/[search]\narray = 3\nretrain-tokens = 64/; /^hidden/d'
    echo 2 > array_size
    refuses "array = 3: this cluster's job arrays have at most 2 elements" pipeline "$ini"
    [[ $(calls_of sbatch) -eq 0 ]] || complain "stages were submitted before one was refused"
    echo 3 > array_size
    ends_with 0 pipeline "$ini"
}

test_requests() {
    new_run requests
    edit 's/^out = run/out = half%/'
    printf 'gpus_per_node=4\nsbatch_options=(--qos=regular --constraint=gpu --gres=gpu:4)\n' > site.env
    edit 's/^model = .*/&\ncluster = site.env/; s/^time = 60/&\nqos = debug\nsbatch = --mem=64G --reservation=ours/'
    ends_with 0 pipeline --dry-run "$ini"
    grep -q '^distill=.*--qos=regular.*--qos=debug.*--mem=64G --reservation=ours' said.txt || complain "the cluster overrides [resources]: $(grep '^distill' said.txt)"
    printf '%s\n' '[resources.prune]' 'gpus-per-node = 0' 'constraint = cpu' '[resources.distill]' 'gpus-per-node = 2' >> "$ini"
    printf '%s\n' '[resources.evaluate-student]' 'nodes = 3' >> "$ini"
    ends_with 0 pipeline --dry-run "$ini"
    grep -q '^prune=.*--constraint=cpu' said.txt || complain "no other nodes for prune"
    ! grep '^prune=' said.txt | grep -q gpu: || complain "GPUs for prune"
    grep -q '^distill=.*--gres=gpu:2' said.txt || complain "not two GPUs: $(grep '^distill' said.txt)"
    grep -q '^distill=.*--output=.*/half%%/stages' said.txt || complain "a folder's % is sbatch's: $(grep '^distill' said.txt)"
    ! grep '^distill=' said.txt | grep -q gpu:4 || complain "two requests for GPUs"
    grep -q '^evaluate_student=.*--nodes=3' said.txt || complain "a stage's name is no section of resources"
    edit 's/^sbatch = .*/sbatch = --mem=64G -M other/'
    refuses "sbatch = -M: the pipeline sets this itself" pipeline --dry-run "$ini"
    edit '/^sbatch = /d; s/^time = 60/&\nrequeue = no/'
    refuses "distill: with requeue = no nothing goes on" pipeline "$ini"
    [[ $(calls_of sbatch) -eq 0 ]] || complain "stages were submitted before one was refused"
}

test_where_a_cluster_is() {
    new_run where
    echo 'ranks_per_node=3' > site.env
    # A file counts from the pipeline's; a folder is none.
    mkdir -p alps elsewhere
    cd elsewhere
    edit 's/^model = .*/&\ncluster = site.env/'
    ends_with 0 pipeline --dry-run "$ini"
    says "--ntasks-per-node=3"
    cd ..
    edit 's/^cluster = .*/cluster = alps/'
    ends_with 0 pipeline --dry-run "$ini"
    says "--ntasks-per-node=4"
    # What a dry run prints, a shell can run.
    edit 's/^out = run/out = a run/'
    ends_with 0 pipeline --dry-run "$ini"
    bash -c 'sbatch() { echo "${!#}"; }; source ./said.txt; echo "$importance"' > heard.txt
    grep -q '/where/a run/stages/importance/job.ini$' heard.txt || complain "a dry run's command: $(head -n 1 said.txt)"
}

test_options() {
    new_run options
    edit 's/^seq-len = 8/&\nthreads = 3/'
    refuses "set cpus-per-rank" pipeline --dry-run "$ini"
    # A pattern counts from the file's folder, whatever fits it in the current one.
    edit '/^threads/d; s|^\[data\]|[tokenize]|; s|tokens/train|text/*.txt text/*.jsonl|; s|tokens/valid|text/[ab].txt|'
    mkdir -p text elsewhere/text
    touch text/{a,b}.txt text/c.jsonl elsewhere/text/{a.txt,z.jsonl}
    cd elsewhere
    ends_with 0 pipeline "$ini"
    cd ..
    [[ $(grep -c '^input = ' run/stages/tokenize-train/job.ini) -eq 3 ]] || complain "$(grep '^input' run/stages/tokenize-train/job.ini)"
    [[ $(grep -c '^input = ' run/stages/tokenize-valid/job.ini) -eq 2 ]] || complain "$(grep '^input' run/stages/tokenize-valid/job.ini)"
}

# Options that name files count from the pipeline's file, and what is in those counts as input.
test_options_that_are_paths() {
    new_run paths
    echo 1 > ids.txt
    edit 's/^\[importance\]/&\ndepth-task = asked.jsonl/; s|^hidden = 8|vocab-ids = ids.txt\nvocab-data = "more tokens/a" tokens/b|'
    edit 's/^\[distill\]/&\nteacher-cache = "a cache"/; s|^train = .*|train = 0.7 "more tokens/a" 0.3 tokens/b|'
    ends_with 0 pipeline "$ini"
    has_line importance "depth-task = $FAKE_SLURM/asked.jsonl"
    has_line prune "vocab-ids = $FAKE_SLURM/ids.txt"
    has_line prune "vocab-data = \"$FAKE_SLURM/more tokens/a\""
    has_line prune "vocab-data = $FAKE_SLURM/tokens/b"
    has_line distill "teacher-cache = \"$FAKE_SLURM/a cache\""
    has_line distill "data = \"$FAKE_SLURM/more tokens/a\""
    run_to_end importance prune
    echo 2 > ids.txt
    is_next prune
}
has_line() { grep -qxF -- "$2" "run/stages/$1/job.ini" || complain "$1 lacks $2: $(cat "run/stages/$1/job.ini")"; }

test_values() {
    new_run values
    refuses_value "links = two" "links = two: a number from 1 on"
    refuses_value "signal = abc" "signal = abc: a number from 1 on"
    refuses_value "at-once = x" "at-once = x: a number from 1 on"
    refuses_value "gpus-per-node = all" "gpus-per-node = all: a number"
    refuses_value "requeue = maybe" "requeue = maybe: yes or no"
    refuses_value "time = 30" "time is there twice, as 60 and 30"
    refuses_value "sbatch = --mem=1G\nsbatch = --mem=2G\nlinks = 0" "links = 0"
    edit 's/^time = 60/time = soon/'
    refuses "$ini: [resources] time = soon: minutes, h:m:s or d-h:m:s" pipeline --dry-run "$ini"
    edit 's/^time = .*/time = 60/; s/^tokens = 1024/&\ntp = two/'
    refuses "[distill] tp = two, pp = 1: numbers from 1 on" pipeline --dry-run "$ini"
    edit '/^tp = /d; /^global-batch/d'
    refuses "[distill] global-batch = : a number" pipeline status "$ini"
}
refuses_value() { # LINES WORDS
    { cat "$ini"; printf '%b\n' "$1"; } > values.ini
    refuses "$2" pipeline --dry-run "$PWD/values.ini"
}

test_the_teacher_is_laid_out_as_the_student() {
    new_run teacher
    edit 's/^\[distill\]/[correct]\ntokens = 64\n&\ntp = 2\ndtype = f32/; s/^time = 60/&\nranks-per-node = 2/'
    ends_with 0 pipeline "$ini"
    says_nothing_of "checkpoint-every"
    for line in 'tp = 2' 'dtype = f32' 'checkpoint-every = 8'; do
        grep -qx "$line" run/stages/correct/job.ini || complain "correct lacks $line"
    done
    new_run unsaved
    edit '/^checkpoint-every/d'
    ends_with 0 pipeline "$ini"
    says "distill: checkpoint-every is 0"
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
    mkdir blobs hub tokens
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
# is_next STAGE: the first that is not done
is_next() {
    queue_is ""
    ends_with 0 pipeline --dry-run --resume "$ini"
    [[ $(sed -n '/^# .*: done$/!{s/=.*//p;q}' said.txt) == "$1" ]] || complain "the next is not $1: $(cut -c 1-40 said.txt)"
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
    # It needs none of the inputs, which may be gone by now.
    rm model.h5
    ends_with 0 pipeline status "$ini"
    is_shown importance "done"
    ends_with 0 pipeline cancel "$ini"
}
is_shown() { grep -qE "^$1 +${2//[()]/.}( |\$)" said.txt || complain "$1 is not $2: $(grep "^$1 " said.txt)"; }

test_the_program_by_environment() {
    new_run environment
    edit '/^espalier/d'
    mkdir -p elsewhere
    cd elsewhere
    ESPALIER=../../bin/espalier ends_with 0 pipeline --dry-run "$ini"
}

test_file_systems() {
    new_run file_systems
    echo xfs > fstype
    ends_with 0 pipeline "$ini"
    says "is on xfs"
    new_run in_memory
    echo tmpfs > fstype
    refuses "in this node's memory" pipeline "$ini"
}

test_preflight() {
    new_run preflight
    edit 's/^out = run/out = half%/; s/^time = 60/&\ngpus-per-node = 1\nsbatch = --reservation=ours/'
    refuses "the program was built without CUDA" "$project/slurm/preflight" "$ini" --qos=debug
    says "ok     1 ranks on 1 nodes"
    says "ok     $(env -u OMP_NUM_THREADS -u OMP_THREAD_LIMIT nproc) cores for each rank, 1 asked for"
    says "ok     Open MPI v4.1.4 joins all 1 ranks"
    grep -q '^sbatch .*--gpus-per-node=1.*--reservation=ours.*--time=5 .*--qos=debug' calls || complain "another job: $(grep '^sbatch' calls)"
    not_called '^sbatch .*--signal'
    grep -q '^sbatch .*--output=.*/half%%.preflight/log.txt' calls || complain "a folder's % is sbatch's: $(grep '^sbatch' calls)"
    ! grep '^srun ' calls | grep -vE -- '--mpi=list|--cpus-per-task=1 ' || complain "srun is not told of a rank's cores"
    edit '/^gpus-per-node/d'
    ends_with 0 "$project/slurm/preflight" "$ini"
    # A probe that fails, the second here, leaves the rest to be looked at.
    echo 2 > fails.srun
    refuses "no rank started" "$project/slurm/preflight" "$ini"
    says "ok     Open MPI v4.1.4 joins all 1 ranks"
}

run_tests "${@:2}"
