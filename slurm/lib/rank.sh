#!/bin/bash
# Starts one rank: srun runs it once a task, so that what differs between tasks is expanded there and not by the batch shell.
# usage: rank.sh CLUSTER.env|"" COMMAND...
set -euo pipefail
case ${1:-} in --help | -h) sed -n '2,3s/^# //p' "$0"; exit 0 ;; esac
[[ $# -ge 2 ]] || { sed -n '2,3s/^# //p' "$0" >&2; exit 2; }
cluster_file=$1
shift
if [[ -n $cluster_file ]]; then
    # shellcheck source=/dev/null
    source "$cluster_file" || { echo "rank.sh: $cluster_file ended with $?" >&2; exit 1; }
fi
# Tasks that no process manager introduced to each other would each be a job of one rank. Of Slurm's, cray_shasta names ranks
# by PALS_RANKID alone.
if [[ ${SLURM_STEP_NUM_TASKS:-1} -gt 1 && -z ${PMIX_RANK:-}${PMI_RANK:-}${PMI_FD:-}${PALS_RANKID:-}${FLUX_TASK_RANK:-} ]]; then
    [[ ${SLURM_PROCID:-0} -ne 0 ]] || echo "rank.sh: $SLURM_STEP_NUM_TASKS tasks without PMI or PMIx would be as many jobs of one rank; set mpi in the cluster's file (\`srun --mpi=list\` shows the choice)" >&2
    exit 2
fi
if declare -F rank_environment > /dev/null; then
    set -E # also of a line in the middle
    trap 'echo "rank.sh: $cluster_file: rank_environment() failed on rank ${SLURM_PROCID:-0} in: $BASH_COMMAND" >&2' ERR
    rank_environment
    trap - ERR
fi
exec "$@"
