# For sourcing by the batch scripts: guards, environment, launch with srun, and what follows from the exit code.
# shellcheck shell=bash disable=SC2154
set -euo pipefail
# shellcheck source=slurm/lib/common.sh
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"
# shellcheck source=slurm/lib/cluster.sh
source "$(dirname "${BASH_SOURCE[0]}")/cluster.sh"
# shellcheck source=slurm/lib/controller.sh
source "$(dirname "${BASH_SOURCE[0]}")/controller.sh"
# shellcheck source=slurm/lib/run.sh
source "$(dirname "${BASH_SOURCE[0]}")/run.sh"
# shellcheck source=slurm/lib/search.sh
source "$(dirname "${BASH_SOURCE[0]}")/search.sh"

# batch_main JOB ARGUMENT...: the whole of a batch script.
batch_main() {
    local job_wanted=$1 code=0
    shift
    program_name=$job_wanted.sbatch
    case ${1:-} in
        --help | -h)
            usage_of "$slurm_folder/$program_name"
            exit 0
            ;;
    esac
    [[ $# -eq 1 && $1 != -* ]] || {
        usage_of "$slurm_folder/$program_name" >&2
        exit 2
    }
    config=$1
    [[ -r $config ]] || refuse "$config cannot be read"
    [[ -n ${SLURM_JOB_ID:-} ]] || refuse "not inside a Slurm job; submit it: sbatch slurm/$program_name $config"
    # Of an array's element SLURM_JOB_ID will not do: one element has the array's own, which names all of them.
    batch_id=${SLURM_ARRAY_JOB_ID:+${SLURM_ARRAY_JOB_ID}_${SLURM_ARRAY_TASK_ID:-}} batch_id=${batch_id:-$SLURM_JOB_ID}
    # SIGTERM announces a preemption or the end; the ranks have it too, and this shell sees their end through.
    trap 'say "SIGTERM: waiting for the ranks to stop"' TERM

    stage_folder=$(dirname "$config")
    if [[ -e $stage_folder/stage.env ]]; then
        load_stage "$stage_folder"
    else
        espalier=${ESPALIER:-espalier} cluster=${ESPALIER_CLUSTER:-} job=$job_wanted
    fi
    command -v "$espalier" > /dev/null || refuse "$espalier is not there; set ESPALIER to the program's path"
    load_cluster "$cluster"
    say "job $SLURM_JOB_ID on ${SLURM_JOB_NODELIST:-?}, start $((${SLURM_RESTART_COUNT:-0} + 1)), $(date '+%F %T')"
    prepare_environment
    check_shared "$stage_folder" || code=$?

    if [[ $code -ne 0 ]]; then
        say "the nodes could not be reached (srun ended with $code)"
        [[ $(judge "$code" "$config.attempts") != again ]] || code=3
    elif [[ $job == candidate ]]; then
        [[ -n ${SLURM_ARRAY_TASK_ID:-} ]] || refuse "a candidate is one element of a job array: sbatch --array=0-N"
        run_candidate "$stage_folder" "$SLURM_ARRAY_TASK_ID" || code=$?
        # Its steps were stages of their own; back to the array's.
        load_stage "$(dirname "$config")"
        [[ $code -ne 0 ]] || candidate_finished
    elif [[ -e $stage_folder/stage.env ]]; then
        run_stage "$stage_folder" || code=$?
    else
        run_alone "$job_wanted" || code=$?
    fi
    end_batch "$code"
}

# Without a pipeline: the run's folder, which knows how far it is, is named by the file.
run_alone() {
    local run code=0
    run=$(sed -n 's/^ *out *= *//p' "$config" | tail -n 1)
    launch "$espalier" "$1" --config "$config" || code=$?
    case $(judge "$code" "$config.attempts" "$run") in
        done) rm -f "$config.attempts" ;;
        again) return 3 ;;
        *) [[ $code -ne 0 && $code -ne 3 ]] || code=1; return "$code" ;;
    esac
}

# All elements done: the array is. Each looks after its own end, so the last one sees them all.
candidate_finished() {
    local k count
    count=$(candidates_to_rank)
    for ((k = 0; k < count; ++k)); do candidate_done "$k" || return 0; done
    finish_stage
}

prepare_environment() {
    local ranks=${SLURM_NTASKS_PER_NODE:-} cpus=${SLURM_CPUS_PER_TASK:-1} gpus
    ranks=${ranks%%(*}
    # Since 22.05 srun no longer takes --cpus-per-task from the batch script.
    export SRUN_CPUS_PER_TASK=$cpus
    export OMP_NUM_THREADS=$cpus HDF5_USE_FILE_LOCKING=FALSE
    # Ranks that share cores take turns anyway; a node without TaskPlugin hands out more tasks than it has cores.
    if [[ -n $ranks && -n ${SLURM_CPUS_ON_NODE:-} && $((ranks * cpus)) -gt $SLURM_CPUS_ON_NODE ]]; then
        refuse "$ranks ranks x $cpus cores per node, but this job has $SLURM_CPUS_ON_NODE; lower ranks-per-node or cpus-per-rank"
    fi
    gpus=${SLURM_GPUS_ON_NODE:-0}
    if [[ $gpus -gt 0 && -n $ranks && $ranks -gt $gpus ]]; then
        refuse "$ranks ranks share $gpus GPUs on each node; ask for one rank per GPU (ranks-per-node = $gpus)"
    fi
    if declare -F load_modules > /dev/null; then load_modules; fi
}

# A folder that only this node sees would be found empty by the others, or by the next start on another node.
check_shared() {
    local token code=0
    [[ ${SLURM_JOB_NUM_NODES:-1} -gt 1 ]] || return 0
    token=$1/.seen-by-all.$SLURM_JOB_ID
    touch "$token"
    # shellcheck disable=SC2016 # the nodes expand it
    srun --ntasks="$SLURM_JOB_NUM_NODES" --ntasks-per-node=1 --cpus-per-task=1 sh -c '[ -e "$1" ] || exit 9' sh "$token" || code=$?
    [[ $code -ne 9 ]] || refuse "$1 is not seen by every node; put the run on the parallel file system"
    rm -f "$token"
    return "$code"
}

# launch COMMAND...: on every rank of the job. slurm/lib/rank.sh is what runs there first. The first rank that ends well with 3
# must not end the others (--kill-on-bad-exit); one that dies takes the rest with it through MPI, at the latest after --wait.
launch() {
    local binding=()
    if ended_by_request; then return 3; fi
    [[ ${SLURM_GPUS_ON_NODE:-0} -eq 0 ]] || binding=(--gpu-bind=none)
    srun --mpi="$mpi" --kill-on-bad-exit=0 --wait=30 "${binding[@]}" "${srun_options[@]}" \
        "$slurm_folder/lib/rank.sh" "$cluster_file" "$@" --threads "$SRUN_CPUS_PER_TASK"
}

# Exit code 3 puts the job back into the queue, unless somebody ended it, or links of a chain follow.
end_batch() {
    case $1 in
        0) say "done, $(date '+%F %T')" ;;
        3)
            if ended_by_request || [[ $(job_state) != RUNNING ]]; then
                say "work is left; ended by request, not queued again"
            elif [[ -e $stage_folder/links ]]; then
                say "work is left for the next link"
            else
                say "work is left; queued again"
                ask scontrol requeue "$batch_id" || say "scontrol failed; slurm/pipeline --resume goes on"
            fi
            ;;
    esac
    exit "$1"
}

ended_by_request() { was_cancelled "$(dirname "$config")" "$batch_id"; }

# As the controller sees it; a job that scancel ended is COMPLETING or CANCELLED by now.
job_state() {
    local states
    states=$(ask squeue --noheader --jobs="$batch_id" --format=%T 2> /dev/null) || states=RUNNING
    head -n 1 <<< "$states"
}
