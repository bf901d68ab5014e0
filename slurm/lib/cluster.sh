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
    source "$cluster_file"
    local key
    for key in network_gbs file_system_gbs; do
        [[ ${!key} =~ ^([0-9]+(\.[0-9]+)?)?$ ]] || refuse "$cluster_file: $key=${!key}: GB/s as a number, such as 12.5, or nothing"
    done
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
    done < <(grep -oE '^[a-z_]+' "$1" | grep -vx 'export')
    if [[ $(sed '/^rank_environment()/,/^}/d; /^ *#/d' "$1") =~ SLURM_(PROCID|LOCALID|NODEID) ]]; then
        refuse "$1: SLURM_PROCID, SLURM_LOCALID and SLURM_NODEID are known to ranks only; use them inside rank_environment()"
    fi
}
