# For sourcing: what a cluster wants, from clusters/<name>.env.
# shellcheck shell=bash disable=SC2034,SC2154

# Everything a cluster file can say; clusters/template.env explains each.
cluster_keys=(ranks_per_node cpus_per_rank gpus_per_node sbatch_options srun_options mpi network_gbs file_system_gbs load_modules rank_environment)

# load_cluster NAME|FILE.env: sets the keys; without a name they have their defaults.
load_cluster() {
    ranks_per_node="" cpus_per_rank="" gpus_per_node="" mpi=pmix network_gbs="" file_system_gbs=""
    sbatch_options=() srun_options=()
    cluster_file=""
    [[ -n ${1:-} ]] || return 0
    cluster_file=$1
    [[ -f $cluster_file ]] || cluster_file=$slurm_folder/clusters/$1.env
    [[ -r $cluster_file ]] || refuse "cluster $1: there is no $cluster_file; known: $(known_clusters) (or a path to an .env file)"
    cluster_file=$(realpath "$cluster_file") # ranks start in another folder
    check_cluster_file "$cluster_file"
    # shellcheck source=/dev/null
    source "$cluster_file" || refuse "$cluster_file ended with $? (a last line such as \"test && ...\" does where the test fails: write if)"
    # Without a way to find each other, N ranks are N jobs of one rank.
    [[ $mpi =~ ^[a-z0-9_]+$ && $mpi != none ]] || refuse "$cluster_file: mpi=$mpi: ranks would not find each other; one of \`srun --mpi=list\` that the MPI library supports, such as pmix"
    [[ " ${srun_options[*]}" != *" --mpi"* ]] || refuse "$cluster_file: srun_options: --mpi: set mpi=..."
    check_sbatch_options "$cluster_file: sbatch_options" "${sbatch_options[@]}"
    local key
    for key in ranks_per_node cpus_per_rank gpus_per_node; do
        [[ ${!key} =~ ^([1-9][0-9]*)?$ || $key-${!key} == gpus_per_node-0 ]] || refuse "$cluster_file: $key=${!key}: a number from 1 on, or nothing"
    done
    for key in network_gbs file_system_gbs; do
        [[ ${!key} =~ ^([0-9]+(\.[0-9]+)?)?$ ]] || refuse "$cluster_file: $key=${!key}: GB/s as a number, such as 12.5, or nothing"
    done
}

# What neither a cluster's file nor [resources] sbatch may hold: options, and what to do instead.
own_sbatch_options="\
--nodes -N|set nodes in [resources]
--ntasks --ntasks-per-node --tasks-per-node -n|set ranks-per-node in [resources]
--cpus-per-task -c|set cpus-per-rank in [resources]
--time -t|set time in [resources]
--signal|set signal in [resources]
--requeue --no-requeue|set requeue in [resources]
--array -a|set array in [search], and at-once in [resources]
--output --error --open-mode -o -e|logs are in [pipeline] out, where status looks for them; leave it out
--job-name -J|jobs are named after [pipeline] out and their stages; leave it out
--comment|the launcher recognises its jobs by their comment; leave it out
--dependency --kill-on-invalid-dep -d|stages wait for each other by it; leave it out
--clusters --cluster -M|submit on a login node of that cluster instead
--test-only|use slurm/pipeline --dry-run
--wrap|the jobs are the scripts of slurm/; leave it out
--wait --parsable --quiet -W -Q|the launcher reads the job's number when sbatch ends; leave it out"

# sbatch heeds a variable for most of its options, above the scripts' own lines. Whom a job is accounted to and where it runs is left to
# them where nothing else says it; the rest would change what is submitted.
kept_for_sbatch="SBATCH_ACCOUNT SBATCH_PARTITION SBATCH_QOS SBATCH_CONSTRAINT SBATCH_RESERVATION"
forget_sbatch_variables() {
    local name
    for name in "${!SBATCH_@}" SLURM_CLUSTERS; do [[ " $kept_for_sbatch " == *" $name "* ]] || unset "$name"; done
}

# check_sbatch_options WHERE OPTION...: sbatch takes long ones by their beginning, too.
check_sbatch_options() {
    local where=$1 option taken instead
    shift
    while IFS='|' read -r taken instead; do
        for option in "$@"; do
            case $option in
                --*) [[ " $taken" != *" ${option%%=*}"* ]] || refuse "$where: $option: $instead" ;;
                -*) [[ " $taken " != *" ${option:0:2} "* ]] || refuse "$where: $option: $instead" ;;
            esac
        done
    done <<< "$own_sbatch_options"
}

# request_gpus [COUNT]: in `request`, for each node. A cluster's own --gres stays; 0 is for nodes without GPUs. Where nobody says how many,
# the cluster's options may.
request_gpus() {
    if [[ -z $1 ]]; then
        return 0
    elif [[ $1 -eq 0 ]]; then
        drop_options '--(gres=gpu|gpu).*'
    elif [[ " ${request[*]} " != *" --gres=gpu"* ]]; then
        request+=("--gpus-per-node=$1")
    fi
}

# drop_options PATTERN: from `request`
drop_options() {
    local option kept=()
    for option in "${request[@]}"; do [[ $option =~ ^$1$ ]] || kept+=("$option"); done
    request=("${kept[@]}")
}

# Of a program: the benchmark that is built beside it.
benchmark_of() { echo "$(dirname "$1")/benchmarks/collectives_benchmark"; }

known_clusters() { (cd "$slurm_folder/clusters" && printf '%s\n' *.env | sed 's/\.env$//' | grep -vx template | paste -sd ' '); }

# Refuses keys that nobody reads, and the task's own variables outside of rank_environment: the batch shell would
# expand them once, to the same value for all ranks.
check_cluster_file() {
    local key
    while read -r key; do
        [[ " ${cluster_keys[*]} " == *" $key "* ]] || refuse "$1: unknown key $key; there are: ${cluster_keys[*]}"
    done < <(sed -nE 's/^([a-z_]+)(\+?=|[[:space:]]*\().*/\1/p' "$1")
    if [[ $(sed '/^rank_environment()/,/^}/d; /^ *#/d' "$1") =~ SLURM_(PROCID|LOCALID|NODEID) ]]; then
        refuse "$1: SLURM_PROCID, SLURM_LOCALID and SLURM_NODEID are known to ranks only; use them inside rank_environment()"
    fi
    check_exports "$1"
}

# Variables of the environment that are set for the shell alone: no rank's program would see them. A setting before a command, as in
# NAME=value module load, is that command's.
check_exports() {
    local name value='("[^"]*"|'"'[^']*'"'|\$\(.*\)|[^[:space:]]*)'
    while read -r name; do
        grep -qE "^[[:space:]]*export([[:space:]].*)?[[:space:]]$name(=|[[:space:]]|\$)" "$1" ||
            refuse "$1: $name is set but not exported, so no rank would see it: export $name=..."
    done < <(sed -nE "s/^[[:space:]]*([A-Z][A-Z0-9_]*)=$value([[:space:]]+[A-Z][A-Z0-9_]*=$value)*[[:space:]]*(#.*)?\$/\1/p" "$1")
}
