#!/usr/bin/env bash
# Jobs that are submitted without a pipeline: slurm/<job>.sbatch CONFIG.ini.
# usage: single_job_test.sh FOLDER [TEST...]
set -euo pipefail
# shellcheck source=tests/cluster/controller_world.sh
source "$(dirname "$0")/controller_world.sh"

test_a_single_job() {
    new_run single
    printf '%s\n' '[distill]' "out = $FAKE_SLURM/student" > single.ini
    local job=(env "ESPALIER=$folder/bin/espalier" SLURM_JOB_ID=7 SLURM_CPUS_ON_NODE=16 SLURM_NTASKS_PER_NODE=4)
    ends_with 0 "${job[@]}" "$project/slurm/distill.sbatch" "$FAKE_SLURM/single.ini"
    grep -q '^espalier distill .*--threads 4$' calls || complain "cores lie idle: $(tail -n 1 calls)"
    ends_with 0 "${job[@]}" SLURM_CPUS_PER_TASK=2 "$project/slurm/distill.sbatch" "$FAKE_SLURM/single.ini"
    [[ $(grep -o '^srun .*--cpus-per-task=[0-9]*' calls | sed 's/.*=//' | xargs) == "4 2" ]] || complain "srun: $(grep '^srun' calls)"
    grep -q '^espalier distill .*--threads 2$' calls || complain "other cores than --cpus-per-task: $(tail -n 1 calls)"
    # Planning takes no GPU; measuring is of those that are there.
    printf '%s\n' '[plan]' 'calibrate = true' "out = $FAKE_SLURM/system.json" > measure.ini
    ends_with 0 "${job[@]}" SLURM_GPUS_ON_NODE=4 "$project/slurm/plan.sbatch" "$FAKE_SLURM/measure.ini"
    grep -q '^espalier plan .*--device=cuda' calls || complain "the GPUs are not measured: $(tail -n 1 calls)"
    printf '%s\n' '[plan]' 'gpus = 8' > plan.ini
    ends_with 0 "${job[@]}" SLURM_GPUS_ON_NODE=4 "$project/slurm/plan.sbatch" "$FAKE_SLURM/plan.ini"
    [[ $(grep -c '^espalier plan .*--device' calls) == 1 ]] || complain "a plan wants GPUs: $(tail -n 1 calls)"
    for kind in teacher-cache score; do
        printf '%s\n' "[$kind]" "out = $FAKE_SLURM/$kind.out" > "$kind.ini"
        ends_with 0 "${job[@]}" SLURM_GPUS_ON_NODE=4 "$project/slurm/$kind.sbatch" "$FAKE_SLURM/$kind.ini"
        grep -q "^espalier $kind --config $FAKE_SLURM/$kind.ini --device=cuda --threads 4\$" calls || complain "$kind: $(tail -n 1 calls)"
    done
}

# A file may have the settings of several jobs, and comments.
test_a_file_of_several_jobs() {
    new_run several
    printf '%s\n' "out = $FAKE_SLURM/nowhere" '[distill]' "out = \"$FAKE_SLURM/a #1\" # the student's" '[evaluate] # of it' 'device = cpu # for now' \
        '[plan]' 'calibrate = true' '[prune]' "out = $FAKE_SLURM/cut.h5" > several.ini
    local job=(env "ESPALIER=$folder/bin/espalier" SLURM_JOB_ID=7 SLURM_GPUS_ON_NODE=4)
    mkdir "a #1"
    touch "a #1/stop"
    echo 3 > codes
    ends_with 3 "${job[@]}" "$project/slurm/distill.sbatch" "$FAKE_SLURM/several.ini"
    says "ended by request"
    called "espalier distill --config $FAKE_SLURM/several.ini --device=cuda --threads 1"
    printf '%s\n' '[plan]' 'calibrate = false' '[score]' 'calibrate = true' > plan.ini
    ends_with 0 "${job[@]}" "$project/slurm/plan.sbatch" "$FAKE_SLURM/plan.ini"
    not_called '^espalier plan .*--device'
    ends_with 0 "${job[@]}" "$project/slurm/evaluate.sbatch" "$FAKE_SLURM/several.ini"
    not_called '^espalier evaluate .*--device'
}

# Three deaths are those of one submission, whichever starts again.
test_another_submission() {
    new_run again
    printf '%s\n' '[distill]' "out = $FAKE_SLURM/student" > again.ini
    local code id
    for id in 7 8; do
        queue_is "$id RUNNING:None"
        for code in 3 3 1; do
            echo 1 > codes
            ends_with "$code" env "ESPALIER=$folder/bin/espalier" "SLURM_JOB_ID=$id" "$project/slurm/distill.sbatch" "$FAKE_SLURM/again.ini"
        done
        echo 3 > fails.srun
        for code in 3 3 1; do
            ends_with "$code" env "ESPALIER=$folder/bin/espalier" "SLURM_JOB_ID=$id" SLURM_JOB_NUM_NODES=2 "$project/slurm/distill.sbatch" "$FAKE_SLURM/again.ini"
        done
    done
}

# More ranks and cores than a node has, which Slurm without TaskPlugin hands out, and more ranks than GPUs.
test_a_node_that_is_too_small() {
    new_run small
    printf '%s\n' '[distill]' "out = $FAKE_SLURM/student" > small.ini
    local job=(env "ESPALIER=$folder/bin/espalier" SLURM_JOB_ID=7 SLURM_CPUS_ON_NODE=16 "SLURM_NTASKS_PER_NODE=4(x2)")
    refuses "4 ranks x 8 cores per node, but this job has 16; lower ranks-per-node or cpus-per-rank" \
        "${job[@]}" SLURM_CPUS_PER_TASK=8 "$project/slurm/distill.sbatch" "$FAKE_SLURM/small.ini"
    refuses "4 ranks share 2 GPUs on each node" \
        "${job[@]}" SLURM_CPUS_PER_TASK=4 SLURM_GPUS_ON_NODE=2 "$project/slurm/distill.sbatch" "$FAKE_SLURM/small.ini"
    not_called '^espalier'
    ends_with 0 "${job[@]}" SLURM_CPUS_PER_TASK=4 "$project/slurm/distill.sbatch" "$FAKE_SLURM/small.ini"
}

run_tests "${@:2}"
