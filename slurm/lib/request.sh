# For sourcing: what sbatch is asked for, from [resources] and the cluster's file.
# shellcheck shell=bash disable=SC2154

forget_sbatch_variables

# resource_or STAGE KEY DEFAULT
resource_or() { local value; value=$(resource "$1" "$2"); echo "${value:-$3}"; }

links_of() { if stops_at_checkpoint "$1" && [[ ${stage_job[$1]} != candidate ]]; then resource_or "$1" links 1; else echo 1; fi; }

# Fills `request` with sbatch's options for a stage. Of an option given twice the last counts: the cluster's come first, so that
# [resources] overrides them, and `sbatch` of [resources] last.
build_request() {
    local name=$1 folder nodes ranks cpus gpus
    folder=$(stage_folder_of "$name")
    size_of_request "$name"
    request=("${sbatch_options[@]}")
    ask_for_gpus "$name"
    request+=("--job-name=$(basename "$run_folder").$name" "--nodes=$nodes" "--ntasks-per-node=$ranks" "--cpus-per-task=$cpus"
        "--output=${folder//%/%%}/log" --open-mode=append --kill-on-invalid-dep=yes)
    add_keys "$name"
    add_signal_and_requeue "$name"
    add_own_options "$name"
}

# Sets nodes, ranks, cpus and gpus, those of a node each but the first.
size_of_request() {
    local name=$1
    nodes=$(resource_or "$name" nodes 1)
    ranks=$(resource_or "$name" ranks-per-node "${ranks_per_node:-1}")
    cpus=$(resource_or "$name" cpus-per-rank "${cpus_per_rank:-1}")
    gpus=$(resource_or "$name" gpus-per-node "${gpus_per_node:-0}")
    # Streaming one file into another is work for one node.
    case ${stage_job[$name]} in
        import | tokenize | export) ranks=1 nodes=1 ;;
        choose) ranks=1 nodes=1 cpus=1 ;;
        candidate) [[ -n ${ini[resources.candidates.nodes]:-${ini[resources.search.nodes]:-}} ]] || nodes=1 ;;
    esac
    if [[ $gpus -gt 0 && $ranks -gt $gpus ]]; then
        refuse "$name: $ranks ranks-per-node$(origin_of "$name" ranks-per-node) share $gpus GPUs$(origin_of "$name" gpus-per-node); choose ranks-per-node <= $gpus"
    fi
    check_layout "$name" $((nodes * ranks))
}

# Where a number comes from that [resources] does not name.
origin_of() { [[ -n $(resource "$1" "$2") || -z $cluster_file ]] || echo " of $cluster_file"; }

# As the cluster's file says it, where [resources] has no other number.
ask_for_gpus() {
    if [[ $gpus -gt 0 && " ${request[*]} " == *" --gres=gpu"* && -n $(resource "$1" gpus-per-node) ]]; then
        drop_options '--gres=gpu.*'
        request+=("--gres=gpu:$gpus")
    else
        request_gpus "$(resource_or "$1" gpus-per-node "$gpus_per_node")"
    fi
}

# What sbatch has a word for and [resources] has none: lines of options.
add_own_options() {
    local options
    read -ra options <<< "$(resource "$1" sbatch | tr '\n' ' ')"
    request+=("${options[@]}")
}

add_keys() {
    local key value
    request+=("--time=$(limit_of "$1")")
    for key in partition account qos constraint; do
        value=$(resource "$1" "$key")
        [[ -z $value ]] || request+=("--$key=$value")
    done
    [[ ${stage_job[$1]} == candidate ]] || return 0
    value=${ini[search.array]}
    request+=("--array=0-$((value - 1))%$(resource_or "$1" at-once "$value")")
}

# Where the controller does not say, sbatch will.
check_array_size() {
    local most
    [[ -n ${ini[search.array]:-} ]] || return 0
    most=$(scontrol show config 2> /dev/null | sed -n 's/^MaxArraySize *= *//p') || return 0
    [[ -z $most || ${ini[search.array]} -le $most ]] ||
        refuse "$pipeline_file: [search] array = ${ini[search.array]}: this cluster's job arrays have at most $most elements (MaxArraySize)"
}

add_signal_and_requeue() {
    local name=$1
    if stops_at_checkpoint "$name"; then request+=("--signal=USR1@$(warning_of "$name")"); fi
    if requeues "$name"; then request+=(--requeue); else request+=(--no-requeue); fi
    case ${stage_job[$name]} in
        train | distill) [[ $(resource_or "$name" requeue yes) == yes || $(links_of "$name") -gt 1 ]] ||
            refuse "$name: with requeue = no nothing goes on after the time limit; set links = N in [resources.${stage_section[$name]}]: N jobs, one after the other" ;;
    esac
}

# Whether a job may queue itself again. Links of a chain leave that to the next.
requeues() {
    [[ $(resource_or "$1" requeue yes) == yes && $(links_of "$1") -eq 1 ]]
}

# Where [resources] says nothing, the script's own line.
limit_of() {
    local own
    own=$(sed -n 's/^#SBATCH.* --time=\([^ ]*\).*/\1/p' "$slurm_folder/${stage_job[$1]}.sbatch")
    resource_or "$1" time "$own"
}

# How many seconds before the time limit the ranks are told to stop: 300, or a quarter of a short limit.
warning_of() {
    local limit value
    limit=$(seconds_of "$(limit_of "$1")") value=$(resource "$1" signal)
    if [[ -z $value ]]; then
        value=300
        [[ $limit -ge 1200 ]] || value=$((limit / 4))
    fi
    [[ $value -lt $limit ]] || refuse "$1: signal = $value s is not shorter than its time limit of $limit s: the ranks would be told to stop at once"
    echo "$value"
}

# Slurm's ways to write a time: M, M:S, H:M:S, D-H, D-H:M, D-H:M:S. Nothing where it is none of them.
seconds_of() {
    local days=0 rest=$1 a b c
    [[ $rest =~ ^([0-9]+-)?[0-9]+(:[0-9]+){0,2}$ ]] || return 0
    if [[ $rest == *-* ]]; then
        days=${rest%%-*}
        IFS=: read -r a b c <<< "${rest#*-}"
    else
        IFS=: read -r a b c <<< "$rest"
        if [[ -z $c ]]; then c=$b b=$a a=0; fi
    fi
    echo $((((10#$days * 24 + 10#$a) * 60 + 10#${b:-0}) * 60 + 10#${c:-0}))
}
