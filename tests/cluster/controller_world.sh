# For sourcing by tests of slurm/ that take FOLDER [TEST...]: stand-ins for Slurm's commands and the program, pipelines in worlds
# where no job has run, and what is asked of them.
# shellcheck shell=bash
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
project=$(cd "$here/../.." && pwd)
source "$here/checks.sh"
usage() { sed -n '2,3s/^# //p' "$0"; }
case ${1:-} in --help | -h) usage; exit 0 ;; "" | -*) usage >&2; exit 2 ;; esac
folder=$(realpath -m "$1")
unset "${!SLURM_@}" "${!SBATCH_@}" "${!ESPALIER_@}" 2> /dev/null || true
rm -rf "$folder"
mkdir -p "$folder/bin"
cd "$folder"
for name in sbatch squeue scancel scontrol srun sleep sinfo findmnt nvidia-smi; do ln -s "$here/fake_slurm" "bin/$name"; done
cp "$here/fake_slurm" bin/espalier # whose real path is looked at
cp "$here/probe.json" bin/         # what it says of itself
export PATH=$folder/bin:$PATH

# new_run NAME: a pipeline's file in a world where no job has run; [resources] is its last section.
new_run() {
    export FAKE_SLURM=$folder/$1
    run=$FAKE_SLURM/run ini=$FAKE_SLURM/run.ini
    mkdir -p "$FAKE_SLURM"
    cd "$FAKE_SLURM"
    mkdir -p tokens
    touch calls queue model.h5 tokens/train.idx tokens/valid.idx
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
# is_next STAGE: the first that is not done
is_next() {
    queue_is ""
    ends_with 0 pipeline --dry-run --resume "$ini"
    [[ $(sed -n '/^# .*: done$/!{s/=.*//p;q}' said.txt) == "$1" ]] || complain "the next is not $1: $(cut -c 1-40 said.txt)"
}
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

# A search whose candidates are an array of three elements, of which it found two; job 102 is the array.
new_search() {
    new_run "$1"
    edit 's/^\[prune\]/[search]\narray = 3\nretrain-tokens = 64/; /^hidden/d'
    ends_with 0 pipeline "$ini"
    run_to_end search importance
    echo '{"candidates": [{}, {}]}' > run/candidates.json
}
element() { start candidates "$2" "SLURM_ARRAY_JOB_ID=$(job_of candidates)" "SLURM_ARRAY_TASK_ID=$1"; }
# rank K LOSS: what the program writes
rank() { mkdir -p "run/stages/candidates/$1/evaluate" && printf '{\n "loss": %s,\n}\n' "$2" > "run/stages/candidates/$1/evaluate/summary.json"; }

# run_tests [TEST...]: those, or all there are.
run_tests() {
    local name before tests=${*:-$(compgen -A function | grep '^test_')}
    for name in $tests; do
        before=$failures
        "$name"
        [[ $failures -eq $before ]] || echo "in $name" >&2
    done
    [[ $failures -eq 0 ]] || exit 1
    echo "$(wc -w <<< "$tests") tests passed"
}
