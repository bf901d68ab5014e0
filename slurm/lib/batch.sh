# For sourcing by the batch scripts: guards, environment, launch with srun.
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
# shellcheck source=slurm/lib/ending.sh
source "$(dirname "${BASH_SOURCE[0]}")/ending.sh"

# batch_main JOB ARGUMENT...: the whole of a batch script.
batch_main() {
    local code=0
    program_name=$1.sbatch
    shift
    open_batch "$@"
    say "job $SLURM_JOB_ID on ${SLURM_JOB_NODELIST:-?}, start $((${SLURM_RESTART_COUNT:-0} + 1)), $(date '+%F %T')"
    load_cluster "$cluster"
    prepare_environment # whose modules may bring the program
    command -v "$espalier" > /dev/null || refuse "$espalier is not there; set ESPALIER to the program's path"
    reach_nodes || code=$?
    if [[ $code -eq 0 ]]; then run_batch || code=$?; fi
    end_batch "$code"
}

# Reads the command line and the stage's folder. A configuration without such a folder is a single job's.
open_batch() {
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
    trap 'terminated=yes; say "SIGTERM: waiting for the ranks to stop"' TERM

    stage_folder=$(dirname "$config") home_folder=$(dirname "$config")
    if [[ -e $stage_folder/stage.env ]]; then
        load_stage "$stage_folder"
        open_stage
    else
        espalier=${ESPALIER:-espalier} cluster=${ESPALIER_CLUSTER:-} job=${program_name%.sbatch}
    fi
}

run_batch() {
    local code=0
    if [[ $job == candidate ]]; then
        [[ -n ${SLURM_ARRAY_TASK_ID:-} ]] || refuse "a candidate is one element of a job array: sbatch --array=0-N"
        run_candidate "$stage_folder" "$SLURM_ARRAY_TASK_ID" || code=$?
        # Its steps were stages of their own; back to the array's.
        load_stage "$home_folder"
        [[ $code -ne 0 ]] || candidate_finished
        return "$code"
    elif [[ -e $stage_folder/stage.env ]]; then
        run_stage "$stage_folder"
    else
        run_alone
    fi
}

# Without a pipeline: the run's folder, which knows how far it is, is named by the file.
run_alone() {
    local run code=0 attempts=$config.attempts.$batch_id # another submission starts anew, a requeue does not
    run=$(setting_of "$job" "$config" out)
    [[ $job != search ]] || run=$(run_of search "$run")
    stop_file=${run:+$run/stop}
    launch_job "$job" "$config" || code=$?
    case $(judge "$code" "$attempts" "$run") in
        done) rm -f "$attempts" ;;
        again) return 3 ;;
        *) [[ $code -ne 0 && $code -ne 3 ]] || code=1; return "$code" ;;
    esac
}

# Each element looks after its own end, so the last one sees them all, unless the file system keeps it from the last two. Then the
# choice looks once more.
candidate_finished() {
    if candidates_are_done; then finish_stage; fi
}

prepare_environment() {
    local ranks=${SLURM_NTASKS_PER_NODE:-} cpus=${SLURM_CPUS_PER_TASK:-} gpus
    ranks=${ranks%%(*}
    # A single job whose command line says nothing of cores has the node's for its ranks.
    [[ -n $cpus ]] || cpus=$((${SLURM_CPUS_ON_NODE:-1} / ${ranks:-1}))
    [[ $cpus -gt 0 ]] || cpus=1
    rank_cpus=$cpus
    # After `sbatch --export=NONE` ranks would have nothing of what is set here.
    export SLURM_EXPORT_ENV=ALL OMP_NUM_THREADS=$cpus HDF5_USE_FILE_LOCKING=FALSE
    # Ranks that share cores take turns anyway; a node without TaskPlugin hands out more tasks than it has cores.
    if [[ -n $ranks && -n ${SLURM_CPUS_ON_NODE:-} && $((ranks * cpus)) -gt $SLURM_CPUS_ON_NODE ]]; then
        refuse "$ranks ranks x $cpus cores per node, but this job has $SLURM_CPUS_ON_NODE; lower ranks-per-node or cpus-per-rank"
    fi
    gpus=${SLURM_GPUS_ON_NODE:-0}
    if [[ $gpus -gt 0 && -n $ranks && $ranks -gt $gpus ]]; then
        refuse "$ranks ranks share $gpus GPUs on each node; ask for one rank per GPU (ranks-per-node = $gpus)"
    fi
    load_environment
}

# Many a module's script reads variables that nobody set, and what module says of a failure names no file. What fails in a command's
# substitution is that command's to judge.
load_environment() {
    declare -F load_modules > /dev/null || return 0
    set +u -E
    trap '[[ $BASH_SUBSHELL -gt 0 ]] || refuse "$cluster_file: load_modules() failed; put its lines right (module avail), and try them on a compute node"' ERR
    load_modules
    trap - ERR
    set -u +E
}

# Nodes that cannot be reached are another start's luck, three times at most.
reach_nodes() {
    local code=0 attempts=$config.unreached.$batch_id
    check_shared "$stage_folder" || code=$?
    if [[ $code -eq 0 ]]; then
        rm -f "$attempts"
        return 0
    fi
    say "the nodes could not be reached (srun ended with $code)"
    [[ $(judge "$code" "$attempts") != again ]] || code=3
    return "$code"
}

# A folder that only this node sees would be found empty by the others, or by the next start on another node. What is new in it may
# take the others a moment to see.
check_shared() {
    local token code=0
    [[ ${SLURM_JOB_NUM_NODES:-1} -gt 1 ]] || return 0
    token=$1/.seen-by-all.$SLURM_JOB_ID
    touch "$token"
    # shellcheck disable=SC2016 # the nodes expand it
    srun --ntasks="$SLURM_JOB_NUM_NODES" --ntasks-per-node=1 --cpus-per-task=1 sh -c 'for pause in 1 5 20 0; do [ ! -e "$1" ] || exit 0; sleep "$pause"; done; exit 9' sh "$token" || code=$?
    rm -f "$token"
    [[ $code -ne 9 ]] || refuse "$1 is not seen by every node; put the run on the parallel file system"
    return "$code"
}

# Somebody ended the job, who may have come too late for Slurm, or between two steps of a candidate.
unwanted() { was_cancelled "$home_folder" "$batch_id"; }

# A time limit is the job's own: it needs more time than it may have.
terminated=no
told_to_end() {
    local state
    state=$(job_state)
    has_ended "$state" || [[ $terminated == yes && $state == RUNNING:* ]]
}

# launch COMMAND...: on every rank of the job. slurm/lib/rank.sh is what runs there first. The first rank that ends well with 3
# must not end the others (--kill-on-bad-exit); one that dies takes the rest with it through MPI, at the latest after --wait. Which
# variable would tell srun of a rank's cores differs between versions (22.05, 23.11).
launch() {
    local binding=()
    [[ ${SLURM_GPUS_ON_NODE:-0} -eq 0 ]] || binding=(--gpu-bind=none)
    srun --mpi="$mpi" --cpus-per-task="$rank_cpus" --kill-on-bad-exit=0 --wait=30 "${binding[@]}" "${srun_options[@]}" \
        "$slurm_folder/lib/rank.sh" "$cluster_file" "$@" --threads "$rank_cpus"
}
