#!/usr/bin/env bash
# What the scripts of slurm/ and scripts/pipeline refuse, and a pipeline under mpirun: whole, gone on with, and interrupted.
# usage: guards_test.sh ESPALIER FOLDER
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
project=$(cd "$here/../.." && pwd)
source "$here/checks.sh"
source "$here/tiny_world.sh"
usage() { sed -n '2,3s/^# //p' "$0"; }
case ${1:-} in --help | -h) usage; exit 0 ;; esac
[[ $# -eq 2 ]] || { usage >&2; exit 2; }
espalier=$(realpath "$1") folder=$(realpath -m "$2")
world=$folder/world
unset "${!SLURM_@}" 2> /dev/null || true
rm -rf "$folder"
mkdir -p "$folder/bin"
cd "$folder"
# An empty queue, whatever is installed here.
printf '#!/bin/sh\n' > bin/squeue
chmod +x bin/squeue
PATH=$folder/bin:$PATH

# with EDIT: a pipeline's file, changed by sed
with() {
    sed "$1" "$world/tiny.ini" > "$world/changed.ini"
    echo "$world/changed.ini"
}
dry() { "$project/slurm/pipeline" --dry-run "$@"; }

make_world "$world" "$espalier"
write_pipeline "$world/tiny.ini" runs/tiny 2048
sed -i 's/^nodes = 4/nodes = 2/' "$world/tiny.ini"

# Every script explains itself and refuses what it does not know.
for script in slurm/pipeline slurm/preflight scripts/pipeline slurm/*.sbatch slurm/lib/rank.sh slurm/lib/preflight.sbatch; do
    for path in "$project"/$script; do
        "$path" --help > help.txt 2>&1 || complain "$path --help fails"
        grep -q 'usage:' help.txt || complain "$path --help has no usage"
        refuses "" "$path" --bogus
    done
done
for path in "$project"/slurm/*.sbatch; do
    grep -q -- '--open-mode=append' "$path" || complain "$path: a requeued job would truncate its log"
    refuses "not inside a Slurm job" "$path" "$world/tiny.ini"
    # Where they find slurm/lib they cannot share.
    cmp <(sed -n '/^home=/,$p' "$path") <(sed -n '/^home=/,$p' "$project/slurm/distill.sbatch" | sed "s/^batch_main distill/batch_main $(basename "$path" .sbatch)/") ||
        complain "$path finds slurm/lib in another way than distill.sbatch"
done
# What differs between ranks must not be expanded by the batch shell.
if grep -nE '\$\{?SLURM_(PROCID|LOCALID)' "$project"/slurm/*.sbatch "$project"/slurm/lib/{batch,run,search}.sh; then complain "a rank's variable in a batch script"; fi

# A search as a job array.
as_array='s/^\[prune\]/[search]\narray = 8\nretrain-tokens = 1024\nparams = 6e4\n[resources.search]\nnodes = 2\n[prune]/; /^hidden = /d; /^ffn = /d; /^layers = /d'
refuses "unknown section [prun]" dry "$(with 's/^\[prune\]/[prun]/')"
refuses "unknown key modle" dry "$(with 's/^model = hf/modle = hf/')"
refuses "unknown key node" dry "$(with 's/^nodes = 2/node = 2/')"
refuses "unrecognised option 'hiden'" dry "$(with 's/^hidden/hiden/')"
refuses "unrecognised option 'hiden'" dry "$(with "$as_array; s/\[prune\]$/&\nhiden = 40/")"
refuses "no stage of this pipeline reads [import]" dry "$(with "s|^model = hf|model = random.h5|; s/^\[prune\]/[import]\nbogus = 1\n&/")"
refuses "no stage of this pipeline reads [evaluate]" dry "$(with '/^valid = /d')"
refuses "no stage of this pipeline reads [resources.correct]" dry "$(with '/^\[correct\]/,/^$/d; $a [resources.correct]\nnodes = 1')"
refuses "no stage of this pipeline reads [resources.prune]" dry "$(with "$as_array; \$a [resources.prune]\nnodes = 1")"
refuses "the pipeline sets this itself" dry "$(with 's/^hidden = 40/hidden = 40\nimportance = x.h5/')"
refuses "neither [section] nor key = value" dry "$(with 's/^hidden = 40/hidden 40/')"
refuses "no file fits" dry "$(with 's|text/train|text/trian|')"
refuses "is not there" dry "$(with 's/^model = hf/model = hq/')"
refuses "cannot form replicas" dry "$(with 's/^ranks-per-node = 2/ranks-per-node = 3/')"
refuses "share 1 GPUs" dry "$(with 's/^nodes = 2/nodes = 2\ngpus-per-node = 1/')"
refuses "told to stop at once" dry "$(with 's/^nodes = 2/nodes = 2\nsignal = 300/')"
refuses "there is no" dry "$(with 's/^cluster = .*/cluster = nowhere/')"
refuses "an .env file" dry "$(with 's/^cluster = .*/cluster = nowhere/')"
refuses "not from both" dry "$(with 's/^\[tokenize\]/[data]\ntrain = x\n[tokenize]/')"
printf 'ranks_per_node=2\nexport CUDA_VISIBLE_DEVICES=$SLURM_LOCALID\n' > "$world/early.env"
refuses "known to ranks only" dry "$(with "s|^cluster = .*|cluster = $world/early.env|")"
printf 'ranks_pernode=2\n' > "$world/unknown.env"
refuses "unknown key ranks_pernode" dry "$(with "s|^cluster = .*|cluster = $world/unknown.env|")"
for cluster in "$project"/slurm/clusters/*.env; do
    dry "$(with "s|^cluster = .*|cluster = $(basename "$cluster" .env)|; s/^ranks-per-node = 2/ranks-per-node = 4/")" > said.txt || complain "$cluster cannot be planned with"
    grep -q '^export .*NCCL_DEBUG=WARN' "$cluster" || complain "$cluster: of NCCL's errors a log would have the number only"
done
ranks_of_4() { env -u PMIX_RANK -u PMI_RANK -u PMI_FD -u PALS_RANKID -u FLUX_TASK_RANK SLURM_STEP_NUM_TASKS=4 SLURM_PROCID=0 "$@" "$project/slurm/lib/rank.sh" "" true; }
refuses "4 tasks without PMI" ranks_of_4
for variable in PMIX_RANK PMI_RANK PMI_FD PALS_RANKID FLUX_TASK_RANK; do ends_with 0 ranks_of_4 "$variable=0"; done
for line in '[[ ${SLURM_LOCALID:-1} -eq 0 ]] && export NEAR=yes' $'false\n    export NEAR=yes'; do
    printf 'rank_environment() {\n    %s\n}\n' "$line" > failing.env
    ends_with 1 "$project/slurm/lib/rank.sh" "$PWD/failing.env" true
    says "failing.env: rank_environment() failed on rank"
done

# Planned only.
dry "$(with "$as_array")" > said.txt
grep -q '^candidates=.*afterok:$search.*--array=0-7%8' said.txt || complain "the search's candidates are no job array: $(cat said.txt)"
grep -q '^distill=.*afterok:$choose' said.txt || complain "distillation does not wait for the choice"
dry "$(with 's/^\[correct\]/[resources.distill]\nlinks = 3\n[correct]/')" > said.txt
[[ $(grep -c '^distill=' said.txt) -eq 3 ]] || complain "three links are not three jobs"

# The same file under mpirun, also where Slurm's client is installed and no controller answers.
printf '#!/bin/sh\nexit 1\n' > bin/squeue
local_pipeline() { "$project/scripts/pipeline" --ranks 4 "$@"; }
local_pipeline "$world/tiny.ini" > run.txt 2>&1 || complain "scripts/pipeline failed: $(tail -n 5 run.txt)"
[[ -e $world/runs/tiny/export/config.json ]] || complain "nothing was exported"
for run in teacher student; do
    grep -q '"valid_loss"' "$world/runs/tiny/$run/metrics.jsonl" || complain "the $run was not measured on held-out text"
done
refuses "holds a pipeline already" local_pipeline "$world/tiny.ini"
local_pipeline --resume "$world/tiny.ini" > run.txt 2>&1
[[ $(grep -c ': done$' run.txt) -eq 10 ]] || complain "going on ran what was done: $(cat run.txt)"
# Another length of training is another run; a stage without its marker is done again.
refuses "begun with other settings" local_pipeline --resume "$(with 's/^tokens = 2048/tokens = 4096/')"
rm "$world/runs/tiny/stages/prune/done"
local_pipeline --resume "$world/tiny.ini" > run.txt 2>&1 || complain "pruning again failed: $(tail -n 5 run.txt)"
grep -q 'prune on 4 ranks' run.txt || complain "a stage without its marker was taken as done"
# A link that ends with 3 is followed by another, and both end where one long run does.
cp -r "$world/runs/tiny" "$world/runs/linked"
rm -rf "$world/runs/linked"/{student,export} "$world/runs/linked"/stages/{distill,evaluate-student,export}
sed 's|runs/tiny|runs/linked|; s/^checkpoint-every/exit-after-steps = 2\ncheckpoint-every/' "$world/tiny.ini" > "$world/linked.ini"
local_pipeline --resume "$world/linked.ini" > run.txt 2>&1 || complain "a run in links failed: $(tail -n 5 run.txt)"
[[ $(grep -c '^going on after step' "$world/runs/linked/stages/distill/log") -eq 1 ]] || complain "the run did not come in two links"
losses() { sed 's/"lr".*//' "$world/runs/$1/student/metrics.jsonl"; }
cmp <(losses tiny) <(losses linked) || complain "links have other losses than one run"

# What a run may change is the same to the script and to the program, which writes into a checkpoint what may not. Left out: what
# the pipeline sets itself, and models, which the program knows by what is in them.
not_compared="help|version|config|dump-config|out|summary|force|threads|teacher|student|teacher-cache"
compare_what_may_change() { # OPTION...
    local given=("$@" --teacher "$world/runs/tiny/model.h5" --student "$world/runs/tiny/pruned.h5" --data "$world/runs/tiny/train"
        --tokens 1024 --seq-len 32 --global-batch 16 --lr-decay-style wsd --split "95,5" --exit-after-steps 1 --out "$folder/compared")
    rm -rf "$folder/compared"
    ends_with 3 "$espalier" distill "${given[@]}"
    "$espalier" inspect "$folder/compared/checkpoints/step-1.h5" --json |
        python3 -c 'import json, sys; print(*json.load(sys.stdin)["configuration"], sep="\n")' | grep -v sha256 | LC_ALL=C sort > counted.txt
    "$espalier" distill "${given[@]}" --dump-config | grep ' = ' > given.txt
    # shellcheck source=slurm/lib/pipeline.sh
    (source "$project/slurm/lib/pipeline.sh"; may_change distill "$(< given.txt)") > free.txt
    "$espalier" distill --help | sed -nE 's/^ +--([a-z0-9-]+).*/\1/p' | grep -vxE "$not_compared" | grep -vxE "$(< free.txt)" | LC_ALL=C sort -u > script.txt
    cmp counted.txt script.txt || complain "$*: script and program count other options: $(diff counted.txt script.txt)"
}
compare_what_may_change
compare_what_may_change --hidden-map 3:2
compare_what_may_change --hidden-map 3:2 --hidden-weight 2

[[ $failures -eq 0 ]] || exit 1
echo "all guards hold"
