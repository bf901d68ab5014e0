# For sourcing by slurm/preflight: what its job left in $folder, and what is wrong with it.
# shellcheck shell=bash disable=SC2154

wrong=0
# report VERDICT TEXT [WHAT TO DO]
report() {
    printf '%-6s %s\n' "$1" "$2"
    [[ -z ${3:-} ]] || printf '       %s\n' "$3"
    [[ $1 != wrong ]] || wrong=$((wrong + 1))
}

# advice_on REASON: what to do about one that does not pass by waiting
advice_on() {
    case $1 in
        PartitionConfig | PartitionNodeLimit | PartitionTimeLimit | BadConstraints | NodeDown | ReqNodeNotAvail*)
            echo ": the partition has no such nodes as asked for, or not now; compare with sinfo, Ctrl-C ends the job" ;;
        Assoc* | QOS* | InvalidQOS | InvalidAccount | AccountNotAllowed)
            echo ": account or qos allow no more, or not this; Ctrl-C ends the job" ;;
    esac
}

# Each line of a rank: host rank cores gpus
check_ranks() {
    local hosts seen cores
    [[ -s $folder/ranks.txt ]] || { report wrong "no rank started" "see $folder/log.txt"; return; }
    hosts=$(cut -d ' ' -f 1 "$folder/ranks.txt" | sort -u | wc -l)
    seen=$(wc -l < "$folder/ranks.txt")
    if [[ $seen -eq $all_ranks && $hosts -eq $nodes ]]; then report ok "$seen ranks on $hosts nodes"; else report wrong "$seen ranks on $hosts nodes instead of $all_ranks on $nodes" "see $folder/log.txt"; fi
    cores=$(cut -d ' ' -f 3 "$folder/ranks.txt" | sort -n | head -n 1)
    if [[ $cores -ge $cpus ]]; then report ok "$cores cores for each rank, $cpus asked for"; else report wrong "a rank may use $cores cores of the $cpus asked for" "cpu binding is too narrow: try srun_options=(--cpu-bind=none)"; fi
    check_gpus
}

check_gpus() {
    local shared
    shared=$(awk '$4 != "-" { print $1, $4 }' "$folder/ranks.txt" | sort | uniq -d | head -n 1)
    if [[ $gpus -eq 0 ]]; then
        report ok "no GPUs asked for"
        return
    elif grep -q ' -$' "$folder/ranks.txt"; then
        report wrong "a rank sees no GPU" "is gpus-per-node right, and the driver loaded on the node?"
    elif [[ -n $shared && $ranks -gt 1 && $(awk 'NR == 1 { print split($4, a, ",") }' "$folder/ranks.txt") -eq 1 ]]; then
        report wrong "two ranks are bound to one GPU ($shared)" "use --gpu-bind=none, and CUDA_VISIBLE_DEVICES only inside rank_environment()"
    else
        report ok "every rank sees its GPUs"
    fi
    if [[ -s $folder/nccl.txt ]]; then report ok "NCCL, all ranks: $(< "$folder/nccl.txt")"; elif [[ -e $folder/nccl.txt ]]; then report wrong "NCCL does not work between the ranks' GPUs" "see $folder/log.txt, with NCCL_DEBUG=INFO exported in the cluster's file; often NCCL_SOCKET_IFNAME names no network of the nodes"; fi
    if grep -q '^  "cuda": false' "$folder/probe.json" 2> /dev/null; then
        report wrong "the program was built without CUDA, and would refuse these nodes" "build with ESPALIER_CUDA=ON, or set device = cpu in the sections of the pipeline, and gpus-per-node = 0"
    fi
}

check_mpi() {
    local size library
    library=$(sed -n 's/^  "mpi": "\(.*\)",$/\1/p' "$folder/probe.json" 2> /dev/null) || true
    if [[ -s $folder/mpi.txt ]]; then
        size=$(cat "$folder/mpi.txt")
        if [[ $size -eq $all_ranks ]]; then report ok "${library:-MPI} joins all $size ranks"; else report wrong "MPI sees $size of $all_ranks ranks" "the library does not speak --mpi=$mpi; see srun --mpi=list and the library's own ompi_info or mpichversion"; fi
    else
        report wrong "the program did not run under srun --mpi=$mpi" "$(why_not_run)see $folder/log.txt"
    fi
}

# The first words of the log that say it: of a library that is missing, of HDF5 about its version, of the launcher.
why_not_run() {
    grep -aE 'rank.sh|launcher|espalier|shared librar|symbol lookup|HDF5' "$folder/log.txt" 2> /dev/null | head -n 2 | tr '\n' ' '
    ! grep -qaE 'shared librar|symbol lookup|HDF5' "$folder/log.txt" 2> /dev/null || printf '%s' "(load what the program was built with in load_modules() of the cluster's file) "
}

# library NAME KEY: of the program's facts; nothing where they say nothing
library() { sed -n "/^  \"$1\": {\$/,/^  }/s/^   \"$2\": \"\{0,1\}\([^\",]*\)\"\{0,1\},\{0,1\}\$/\1/p" "$folder/probe.json" 2> /dev/null || true; }
# older A B: whether version A comes before B
older() { [[ $1 != "$2" && $(printf '%s\n' "$1" "$2" | sort -V | head -n 1) == "$1" ]]; }
reload="load what it was built with in load_modules() of the cluster's file, or build anew with those modules loaded"

check_libraries() {
    [[ -s $folder/probe.json ]] || return 0
    check_hdf5
    [[ -n $(library cuda_runtime built) ]] || return 0
    check_newer cublaslt cuBLASLt
    check_newer nccl NCCL
    [[ $gpus -eq 0 ]] || check_driver
}

# Where a batch script runs.
check_python() {
    if [[ -s $folder/python.txt ]]; then
        report ok "$(< "$folder/python.txt") on the first node"
    else
        report wrong "python3 does not run on the first node" "a search's job array needs it; load it in load_modules() of the cluster's file"
    fi
}

check_hdf5() {
    local built found
    built=$(library hdf5 built) found=$(library hdf5 found)
    [[ -n $built ]] || return 0 # a program that does not tell yet
    if [[ ${built%.*} != "${found%.*}" ]]; then
        report wrong "HDF5 $found is found, the program was built against $built" "$reload"
    elif [[ $(library hdf5 parallel) != true ]]; then
        report wrong "HDF5 $found is found, but not a build with MPI, which the program was built against" "$reload"
    else
        report ok "HDF5 $found, the parallel build (built against $built)"
    fi
}

# Newer ones do what older ones do.
check_newer() { # KEY NAME
    local built found
    built=$(library "$1" built) found=$(library "$1" found)
    if older "$found" "$built"; then
        report wrong "$2 $found is found, older than $built, which the program was built against" "$reload"
    else
        report ok "$2 $found (built against $built)"
    fi
}

# A driver runs every runtime of its major version (CUDA's minor version compatibility).
check_driver() {
    local runtime driver
    runtime=$(library cuda_runtime built) driver=$(library cuda_driver found)
    if [[ -z $driver ]]; then
        report wrong "there is no NVIDIA driver where the program ran" "are these the GPU nodes? see partition, constraint and gpus-per-node"
    elif [[ ${driver%%.*} -lt ${runtime%%.*} ]]; then
        report wrong "the driver runs CUDA up to $driver, the program was built with $runtime" "build with a CUDA ${driver%%.*} toolkit, or ask for newer drivers"
    else
        report ok "CUDA runtime $runtime, driver for CUDA up to $driver"
    fi
}

# Less than half of what a cluster's file says is wrong: what is merely busy gets more, another network or disk gets less.
# judge_bandwidth GB/S KEY TEXT WHAT TO DO
judge_bandwidth() {
    local expected=${!2}
    if [[ -z $expected ]]; then
        report ok "$3 (not judged: the cluster's file has no $2)"
    elif awk -v seen="$1" -v expected="$expected" 'BEGIN { exit !(seen < expected / 2) }'; then
        report wrong "$3, less than half of the $expected GB/s that the cluster's file expects ($2)" "$4"
    else
        report ok "$3; $expected GB/s expected"
    fi
}

# seen.txt: a node each that saw the folder. disk.txt: GB/s that each node wrote at the same time.
check_folder() {
    local seen slowest
    seen=$(sort -u "$folder/seen.txt" 2> /dev/null | wc -l)
    if [[ $seen -eq $nodes ]]; then report ok "every node sees $folder"; else report wrong "$seen of $nodes nodes see $folder" "put runs on the parallel file system, not on a node's own disk"; fi
    [[ -s $folder/disk.txt ]] || return 0
    slowest=$(sort -n "$folder/disk.txt" | head -n 1)
    judge_bandwidth "$slowest" file_system_gbs "file system: $(awk '{ sum += $1 } END { printf "%.3g GB/s written by %d nodes together", sum, NR }' "$folder/disk.txt"), $slowest GB/s by the slowest (one writer a node, 64 MB past the cache)" \
        "is $folder on the parallel file system, and striped as the site advises for large files? Full and busy file systems are slow too: ask again later"
}

check_network() {
    local seen
    if [[ $nodes -eq 1 ]]; then
        report ok "one node: no network to measure"
    elif [[ ! -x $(benchmark_of "$espalier") ]]; then
        report note "the network was not measured" "scripts/build release collectives_benchmark makes the program for it"
    elif [[ ! -s $folder/network.txt ]]; then
        report wrong "the network was not measured: $(benchmark_of "$espalier") did not run" "see $folder/log.txt"
    else
        seen=$(sed -n 's/.*, \([0-9.]*\) GB\/s between.*/\1/p' "$folder/network.txt")
        judge_bandwidth "${seen:-0}" network_gbs "network, a rank on each node, host memory: $(< "$folder/network.txt")" \
            "MPI may have taken the wrong network: choose its transport in the cluster's file (UCX_NET_DEVICES, FI_PROVIDER, OMPI_MCA_pml), and look whether other jobs share the nodes"
    fi
}
