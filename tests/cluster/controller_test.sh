#!/usr/bin/env bash
# What slurm/ makes of what the controller says, and of what it does not: with stand-ins for Slurm's commands and the program.
# usage: controller_test.sh FOLDER [TEST...]
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
project=$(cd "$here/../.." && pwd)
source "$here/checks.sh"
case ${1:-} in "" | -*) sed -n '3s/^# //p' "$0" >&2; exit 2 ;; esac
folder=$(realpath -m "$1")
unset "${!SLURM_@}" "${!SBATCH_@}" "${!ESPALIER_@}" 2> /dev/null || true
rm -rf "$folder"
mkdir -p "$folder/bin"
cd "$folder"
for name in sbatch squeue scancel scontrol srun sleep sinfo findmnt nvidia-smi; do ln -s "$here/fake_slurm" "bin/$name"; done
cp "$here/fake_slurm" bin/espalier # whose real path is looked at
export PATH=$folder/bin:$PATH

# new_run NAME: a pipeline's file in a world where no job has run; [resources] is its last section.
new_run() {
    export FAKE_SLURM=$folder/$1
    run=$FAKE_SLURM/run ini=$FAKE_SLURM/run.ini
    mkdir -p "$FAKE_SLURM"
    cd "$FAKE_SLURM"
    touch calls queue model.h5
    cat > "$ini" << INI
[pipeline]
model = model.h5
out = run
espalier = $folder/bin/espalier
[data]
train = tokens/train
valid = tokens/valid
[importance]
[prune]
hidden = 8
[distill]
tokens = 1024
seq-len = 8
global-batch = 4
checkpoint-every = 8
[evaluate]
[export]
[resources]
time = 60
INI
}
pipeline() { "$project/slurm/pipeline" "$@"; }
edit() { sed -i "$1" "$ini"; }
# Jobs that were submitted, by the order of the stages.
job_of() { tail -n 1 "$run/stages/$1/jobs"; }
# queue_is LINE...: what squeue says from now on
queue_is() { printf '%s\n' "$@" | grep . > queue || true; }
calls_of() { grep -c "^$1 " calls || true; }
called() { grep -qxF -- "$1" calls || complain "no call \"$1\" among: $(tail -n 6 calls)"; }
not_called() { ! grep -qE -- "$1" calls || complain "the call $(grep -E -m 1 -- "$1" calls)"; }

# start STAGE ID [VARIABLE=VALUE...]: a job's batch script, as Slurm runs it
start() {
    local stage=$1 id=$2 job
    shift 2
    job=$(sed -n 's/^job=//p' "$run/stages/$stage/stage.env")
    env SLURM_JOB_ID="$id" "$@" "$project/slurm/$job.sbatch" "$run/stages/$stage/job.ini"
}
run_to_end() { for stage in "$@"; do ends_with 0 start "$stage" "$(job_of "$stage")"; done; }

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

# A search whose candidates are an array of three elements, of which it found two; job 102 is the array.
new_search() {
    new_run "$1"
    edit 's/^\[prune\]/[search]\narray = 3\nretrain-tokens = 64/; /^hidden/d'
    ends_with 0 pipeline "$ini"
    mkdir -p run
    echo '{"candidates": [{}, {}]}' > run/candidates.json
    run_to_end search importance
}
element() { start candidates "$2" "SLURM_ARRAY_JOB_ID=$(job_of candidates)" "SLURM_ARRAY_TASK_ID=$1"; }
# rank K LOSS: what the program writes
rank() { mkdir -p "run/stages/candidates/$1/evaluate" && printf '{\n "loss": %s,\n}\n' "$2" > "run/stages/candidates/$1/evaluate/summary.json"; }

test_an_array() {
    new_search array
    local array
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
    refuses "candidate 0 is not done" start choose "$(job_of choose)"
    rm run/candidates.json
    ends_with 1 element 0 "$(job_of candidates)"
    says "cannot be read"
}

test_requests() {
    new_run requests
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
    ! grep '^distill=' said.txt | grep -q gpu:4 || complain "two requests for GPUs"
    grep -q '^evaluate_student=.*--nodes=3' said.txt || complain "a stage's name is no section of resources"
    edit 's/^time = 60/&\nrequeue = no/'
    refuses "distill: with requeue = no nothing goes on" pipeline --dry-run "$ini"
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

test_deaths() {
    new_run deaths
    ends_with 0 pipeline "$ini"
    run_to_end importance prune
    # The nodes are away now and then; between those times they were there.
    local several=SLURM_JOB_NUM_NODES=2
    for _ in 1 2 3; do
        echo 1 > fails.srun
        ends_with 3 start distill 103 "$several"
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

test_a_marker_that_cannot_be_written() {
    new_run marker
    ends_with 0 pipeline "$ini"
    mkdir full
    printf '#!/bin/sh\nfor last; do :; done\ncase $last in */done) exit 1 ;; esac\nexec /bin/mv "$@"\n' > full/mv
    chmod +x full/mv
    PATH=$FAKE_SLURM/full:$PATH ends_with 1 start importance 101
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
    echo "$project/slurm/importance.sbatch" > script
    echo 2 > fails.scontrol
    ends_with 0 env SLURM_JOB_ID=101 ./slurm_script run/stages/importance/job.ini
    says "done already"
}

test_links() {
    new_run links
    edit 's/^time = 60/&\n[resources.distill]\nlinks = 3/'
    ends_with 0 pipeline "$ini"
    run_to_end importance prune
    queue_is "103 RUNNING:None" "104 PENDING:Dependency"
    echo 3 > codes
    ends_with 3 start distill 103
    says "left for the next link"
    queue_is "105 RUNNING:None"
    echo 3 > codes
    ends_with 3 start distill 105
    says "no job follows"
    # Done before its last link: what follows need not wait for that.
    queue_is "104 RUNNING:None" "105 PENDING:Dependency"
    ends_with 0 start distill 104
    called "scontrol update JobId=107 Dependency=afterok:104"
    called "scontrol update JobId=108 Dependency=afterok:104"
    called "scancel 105"
    # One gives up: so do those after it.
    new_run hopeless
    edit 's/^time = 60/&\n[resources.distill]\nlinks = 3/'
    ends_with 0 pipeline "$ini"
    run_to_end importance prune
    echo 2 > codes
    ends_with 2 start distill 103
    ends_with 2 start distill 104
    says "a link before this one gave up"
    queue_is ""
    ends_with 0 pipeline --resume "$ini"
    ends_with 0 start distill "$(sed -n 4p run/stages/distill/jobs)"
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

test_a_single_job() {
    new_run single
    printf '%s\n' '[distill]' "out = $FAKE_SLURM/student" > single.ini
    local job=(env "ESPALIER=$folder/bin/espalier" SLURM_JOB_ID=7 SLURM_CPUS_ON_NODE=16 SLURM_NTASKS_PER_NODE=4)
    ends_with 0 "${job[@]}" "$project/slurm/distill.sbatch" "$FAKE_SLURM/single.ini"
    grep -q '^espalier distill .*--threads 4$' calls || complain "cores lie idle: $(tail -n 1 calls)"
    ends_with 0 "${job[@]}" SLURM_CPUS_PER_TASK=2 "$project/slurm/distill.sbatch" "$FAKE_SLURM/single.ini"
    grep -q '^espalier distill .*--threads 2$' calls || complain "other cores than --cpus-per-task: $(tail -n 1 calls)"
}

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

# Without Slurm: who ends the launcher ends the stage, and there is one launcher at a time.
test_an_interrupt() {
    new_run interrupted
    mkfifo hangs
    interrupt_at importance hang
    interrupt_at distill 0 0 hang # after importance and prune
    ends_with 0 "$project/scripts/pipeline" --ranks 1 --resume "$ini"
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

test_preflight() {
    new_run preflight
    edit 's/^time = 60/&\ngpus-per-node = 1\nsbatch = --reservation=ours/'
    refuses "the program was built without CUDA" "$project/slurm/preflight" "$ini" --qos=debug
    says "ok     1 ranks on 1 nodes"
    says "ok     $(env -u OMP_NUM_THREADS -u OMP_THREAD_LIMIT nproc) cores for each rank, 1 asked for"
    says "ok     MPI joins all 1 ranks"
    grep -q '^sbatch .*--gpus-per-node=1.*--reservation=ours.*--time=5 .*--qos=debug' calls || complain "another job: $(grep '^sbatch' calls)"
    not_called '^sbatch .*--signal'
    edit '/^gpus-per-node/d'
    ends_with 0 "$project/slurm/preflight" "$ini"
    # A probe that fails, the second here, leaves the rest to be looked at.
    echo 2 > fails.srun
    refuses "no rank started" "$project/slurm/preflight" "$ini"
    says "ok     MPI joins all 1 ranks"
}

shift
tests=${*:-$(compgen -A function | grep '^test_')}
for name in $tests; do
    before=$failures
    "$name"
    [[ $failures -eq $before ]] || echo "in $name" >&2
done
[[ $failures -eq 0 ]] || exit 1
echo "$(wc -w <<< "$tests") tests passed"
