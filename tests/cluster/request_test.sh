#!/usr/bin/env bash
# What slurm/pipeline asks Slurm for and hands to the program, as a pipeline's file says it.
# usage: request_test.sh FOLDER [TEST...]
set -euo pipefail
# shellcheck source=tests/cluster/controller_world.sh
source "$(dirname "$0")/controller_world.sh"

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
    echo 'sbatch_options=(--gres=gpu:4)' > site.env
    ends_with 0 pipeline --dry-run "$ini"
    grep -q '^importance=.*--gres=gpu:4' said.txt || complain "a cluster's GPUs were dropped: $(grep '^importance' said.txt)"
    edit '/^sbatch = /d; s/^time = 60/&\nrequeue = no/'
    refuses "distill: with requeue = no nothing goes on" pipeline "$ini"
    [[ $(calls_of sbatch) -eq 0 ]] || complain "stages were submitted before one was refused"
}

# Options that would take a job out of the launcher's sight, or that it sets itself.
test_options_of_sbatch() {
    new_run sbatch_options
    edit 's/^time = 60/&\n[resources.distill]\nsbatch = --mem=64G --comment=mine/'
    refuses "$ini: [resources.distill] sbatch: --comment=mine: the launcher recognises its jobs by their comment" pipeline --dry-run "$ini"
    edit 's/^sbatch = .*/sbatch = --mem=64G/; s/^model = .*/&\ncluster = site.env/'
    echo 'sbatch_options=(--exclusive --wait)' > site.env
    refuses "$FAKE_SLURM/site.env: sbatch_options: --wait: " pipeline --dry-run "$ini"
    local option
    for option in --comment --com=mine --wrap=true --test-only -W --parsable --quiet --kill-on-invalid-dep=no --dependency=singleton -dsingleton \
        --array=0-3 --output=log -olog --error=log --job-name=mine -Jmine --clusters=other -M --time=1 --nodes=2 --requeue; do
        refuses "here: $option: " own_options_are "$option"
    done
    ends_with 0 own_options_are --mem=64G --export=NONE --chdir=tokens --exclusive --nodelist=n1 --wait-all-nodes=1 --time-min=1 -p main
}
# shellcheck disable=SC2016 # the inner shell expands it
own_options_are() { bash -c 'source "$0/common.sh"; source "$0/cluster.sh"; check_sbatch_options here "$@"' "$project/slurm/lib" "$@"; }

# Where [resources] names no limit, a stage's script does, which the warning has to fit into.
test_limits_of_the_scripts() {
    new_run limits
    edit '/^time = 60/d'
    ends_with 0 pipeline "$ini"
    grep -q '^sbatch .*--time=12:00:00 --signal=USR1@300 .*/distill.sbatch' calls || complain "distill: $(grep distill.sbatch calls)"
    grep -q '^sbatch .*--time=.*/prune.sbatch' calls || complain "prune: $(grep prune.sbatch calls)"
    echo 'signal = 43200' >> "$ini"
    refuses "distill: signal = 43200 s is not shorter than its time limit of 43200 s" pipeline --resume "$ini"
}

# What a user's environment tells sbatch: where a job runs, not which job it is.
test_variables_of_sbatch() {
    new_run variables
    export SBATCH_ARRAY_INX=0-3 SBATCH_WAIT=1 SBATCH_TIMELIMIT=1 SBATCH_EXPORT=NONE SBATCH_CLUSTERS=other SLURM_CLUSTERS=other
    for launcher in "$project/slurm/pipeline" "$project/slurm/preflight"; do
        SBATCH_PARTITION=debug SBATCH_ACCOUNT=ours ends_with 0 "$launcher" "$ini"
        [[ $(LC_ALL=C sort environment | xargs) == "SBATCH_ACCOUNT=ours SBATCH_PARTITION=debug" ]] || complain "$launcher: sbatch heeds $(xargs < environment)"
    done
    unset "${!SBATCH_@}" SLURM_CLUSTERS
}

# What sbatch prints is a job's number, or it ends there.
test_answers_of_sbatch() {
    new_run answers
    echo "ID;other" > answer
    ends_with 0 pipeline "$ini"
    says "prune: job 102, afterok:101"
    [[ $(job_of prune) == 102 ]] || complain "a cluster's name in jobs: $(job_of prune)"
    new_run no_answer
    echo "sbatch: see our news! ID" > answer
    refuses "importance: sbatch printed no job's number but \"sbatch: see our news! 101\"" pipeline "$ini"
    [[ $(calls_of sbatch) -eq 1 ]] || complain "stages were submitted behind a job without a number"
    rm answer
    ends_with 0 pipeline --resume "$ini"
    says "importance: job 101 is in the queue"
    echo "sbatch: see our news! ID" > answer
    refuses "sbatch printed no job's number but \"sbatch: see" "$project/slurm/preflight" "$ini"
}

# Before anything is submitted, not by a job hours later.
test_what_is_not_there() {
    new_run absent
    rm tokens/valid.idx
    refuses "[data] valid: $FAKE_SLURM/tokens/valid.idx is not there" pipeline "$ini"
    touch tokens/valid.idx
    edit 's/^seq-len = 8/&\nteacher-tp = 3/'
    refuses "distill: 1 ranks cannot form replicas of teacher-tp 3 x teacher-pp 1" pipeline "$ini"
    edit '/^teacher-tp/d; s/^out = .*/out = "a run"/'
    refuses "write it without quotes" pipeline "$ini"
    edit 's/^out = .*/out = model.h5/'
    refuses "is no folder" pipeline "$ini"
    mkdir hub
    edit 's/^out = .*/out = hub/; s/^model = .*/model = hub/'
    refuses "lies in the model's folder" pipeline "$ini"
    refuses "or is a folder" pipeline hub
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
    edit 's/^cluster = .*/cluster = alpes/'
    refuses "known: alps juwels-booster leonardo marenostrum5-acc perlmutter (or a path" pipeline --dry-run "$ini"
    edit 's/^cluster = .*/cluster = alps/'
    # What a dry run prints, a shell can run.
    edit 's/^out = run/out = a run/'
    ends_with 0 pipeline --dry-run "$ini"
    bash -c 'sbatch() { echo "${!#}"; }; source ./said.txt; echo "$importance"' > heard.txt
    grep -q '/where/a run/stages/importance/job.ini$' heard.txt || complain "a dry run's command: $(head -n 1 said.txt)"
}

# And what one without Slurm prints: the commands that would run, of an array's candidates their steps.
test_a_dry_run_without_slurm() {
    new_run local_dry
    edit 's/^\[prune\]/[search]\narray = 2\nretrain-tokens = 64/; /^hidden/d; s/^out = run/out = a run/'
    ends_with 0 "$project/scripts/pipeline" --dry-run --ranks 2 "$ini"
    says "mpirun -n 2 --oversubscribe --bind-to none $folder/bin/espalier importance"
    local stages="$FAKE_SLURM/a run/stages" step
    printf '%s\n' '#!/bin/sh' 'shift 5' 'exec "$@"' > mpirun
    chmod +x mpirun
    PATH=$FAKE_SLURM:$PATH bash said.txt > ran.txt 2>&1 || true # there are no stages yet
    sed -n 's/^espalier //p' calls > commands.txt
    for step in search "prune candidates/1/prune" "distill candidates/0/distill" "evaluate candidates/1/evaluate" distill; do
        grep -qxF -- "${step% *} --config $stages/${step#* }/job.ini" commands.txt || complain "$step would not run: $(cat commands.txt)"
    done
    ! grep -E '^(choose|candidate) ' commands.txt || complain "jobs that do not exist"
    says "# choose: "
    ends_with 0 "$project/scripts/pipeline" --dry-run --ranks 1 "$ini"
    says_nothing_of mpirun
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
    mkdir "more tokens"
    touch "more tokens/a.idx" tokens/b.idx
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
    refuses_value 'constraint = "a100&big"' "[resources] constraint = \"a100&big\": no shell takes off the quotes"
    refuses_value "sbatch = --mem=64G --reservation='ours'" "[resources] sbatch = --mem=64G --reservation='ours': no shell takes off the quotes"
    refuses_value '[resources.distill]\nqos = "debug"' "[resources.distill] qos = \"debug\": no shell"
    refuses_value "time = 30" "time is there twice, as 60 and 30"
    refuses_value "sbatch = --mem=1G\nsbatch = --mem=2G\nlinks = 0" "links = 0"
    for limit in 0 0-00:00 INFINITE unlimited; do
        edit "s/^time = .*/time = $limit/"
        refuses "$ini: [resources] time = $limit: without a limit no training would be told to stop" pipeline --dry-run "$ini"
    done
    edit 's/^time = .*/time = soon/'
    refuses "$ini: [resources] time = soon: minutes, h:m:s or d-h:m:s" pipeline --dry-run "$ini"
    edit 's/^time = .*/time = 60/; s/^tokens = 1024/&\ntokens = 2048/'
    refuses "$ini: [distill] tokens is there twice, as 1024 and 2048; it takes one value" pipeline --dry-run "$ini"
    edit '/^tokens = 2048/d; s/^tokens = 1024/&\ntp = two/'
    refuses "[distill] tp = two, pp = 1: numbers from 1 on" pipeline --dry-run "$ini"
    edit '/^tp = /d; /^global-batch/d'
    refuses "[distill] global-batch = : a number" pipeline status "$ini"
}
# What a cluster's file says is its own to answer for.
test_values_of_a_cluster() {
    new_run cluster_values
    edit 's/^model = .*/&\ncluster = site.env/'
    for line in ranks_per_node=four cpus_per_rank=0 gpus_per_node=-1; do
        echo "$line" > site.env
        refuses "$FAKE_SLURM/site.env: $line: a number from 1 on" pipeline --dry-run "$ini"
    done
    printf '%s\n' ranks_per_node=4 gpus_per_node=2 > site.env
    refuses "importance: 4 ranks-per-node of $FAKE_SLURM/site.env share 2 GPUs of $FAKE_SLURM/site.env" pipeline --dry-run "$ini"
    edit 's/^time = 60/&\nranks-per-node = 3/'
    refuses "importance: 3 ranks-per-node share 2 GPUs of $FAKE_SLURM/site.env" pipeline --dry-run "$ini"
}

# What would fail, or change nothing, in a job hours later.
test_a_cluster_without_effect() {
    new_run no_effect
    edit 's/^model = .*/&\ncluster = site.env/'
    refuses_cluster "mpi=none" "mpi=none: ranks would not find each other"
    refuses_cluster "mpi=" "mpi=: ranks would not find each other"
    refuses_cluster "srun_options=(--cpu-bind=cores --mpi=none)" "srun_options: --mpi: set mpi="
    refuses_cluster "NCCL_DEBUG=WARN NCCL_CROSS_NIC=1" "NCCL_DEBUG is set but not exported, so no rank would see it"
    refuses_cluster 'rank_environment() {\n    CUDA_VISIBLE_DEVICES=$((3 - SLURM_LOCALID)) # nearest\n}' "CUDA_VISIBLE_DEVICES is set but not exported"
    printf '%s\n' 'NCCL_NET="AWS Libfabric"' 'export FI_PROVIDER=cxi NCCL_NET' 'load_modules() {' '    LMOD_QUIET=1 module load gcc' '}' > site.env
    ends_with 0 pipeline --dry-run "$ini"
}
refuses_cluster() { # LINES WORDS
    printf '%b\n' "$1" > site.env
    refuses "$FAKE_SLURM/site.env: $2" pipeline --dry-run "$ini"
}

# The ranks of every stage, and of every step of a candidate, form whole replicas: before the first starts.
test_layouts() {
    new_run layouts
    edit 's/^\[prune\]/[search]\narray = 3\nretrain-tokens = 64/; /^hidden/d'
    edit 's/^\[evaluate\]/tp = 4\n&\ntp = 2/; s/^time = 60/&\n[resources.distill]\nranks-per-node = 4\n[resources.search]\nranks-per-node = 2\n[resources.evaluate]\nranks-per-node = 2/'
    refuses "candidates, distill: 2 ranks cannot form replicas of tp 4 x pp 1; change them in [distill], or nodes and ranks-per-node in [resources.candidates]" \
        pipeline --dry-run "$ini"
    edit '/^tp = 4/d; s/^tp = 2/tp = 4/'
    refuses "candidates, evaluate: 2 ranks cannot form replicas of tp 4" pipeline --dry-run "$ini"
    edit 's/^tp = 4/virtual-stages = 2/'
    ends_with 0 pipeline --dry-run "$ini"
    edit '/^virtual-stages/d; s/^checkpoint-every/virtual-stages = 2\n&/'
    refuses "$ini: [distill] virtual-stages = 2: they divide the stages of a pipeline; set pp to 2 or more" pipeline --dry-run "$ini"
    new_run local_layouts
    edit 's/^\[evaluate\]/&\ntp = 3/'
    refuses "evaluate-teacher: 4 ranks cannot form replicas of tp 3" "$project/scripts/pipeline" --ranks 4 "$ini"
    not_called '^espalier'
}

# As other systems' editors leave them: a byte order mark, carriage returns, lists over several lines.
test_files_of_other_editors() {
    new_run editors
    touch tokens/more.idx
    edit 's/^train = .*/train = 0.5 tokens\/train\ntrain = 0.5 tokens\/more/; s/$/\r/; 1s/^/\xef\xbb\xbf/'
    ends_with 0 pipeline "$ini"
    has_line distill "data = $FAKE_SLURM/tokens/train"
    has_line distill "data = $FAKE_SLURM/tokens/more"
}

# A # inside quotes begins no comment, for the program neither.
test_comments() {
    new_run comments
    mkdir "a #b"
    touch "a #b/train.idx"
    edit 's|^train = .*|train = "a #b/train" # the text|; s|^\[distill\]|[distill] # at last\nteacher-cache = "the #1 \\"cache\\"" # "quoted"\nlr=1e-3 #2\nseed = 7"1 #2"|'
    ends_with 0 pipeline "$ini"
    has_line distill "data = \"$FAKE_SLURM/a #b/train\""
    has_line distill "lr = 1e-3"
    has_line distill 'seed = 7"1'
    grep -q '^teacher-cache = ".*/the #1 .*cache' run/stages/distill/job.ini || complain "$(grep '^teacher-cache' run/stages/distill/job.ini)"
    edit 's|^train = .*|train = "a #b/train|'
    refuses 'a quote in ""a #b/train" is not closed' pipeline --dry-run "$ini"
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

test_examples() {
    new_run examples
    local example
    for example in "$project"/slurm/examples/*.ini; do
        ESPALIER=$folder/bin/espalier ends_with 0 pipeline status "$example"
        says "export "
    done
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

run_tests "${@:2}"
