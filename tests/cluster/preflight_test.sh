#!/usr/bin/env bash
# What slurm/preflight makes of what its job finds.
# usage: preflight_test.sh FOLDER [TEST...]
set -euo pipefail
# shellcheck source=tests/cluster/controller_world.sh
source "$(dirname "$0")/controller_world.sh"

preflight() { "$project/slurm/preflight" "$ini" "$@"; }

test_preflight() {
    new_run preflight
    refuses "or --cluster NAME --nodes N --folder DIR" "$project/slurm/preflight" --cluster alps
    refuses "leave --cluster, --nodes and --folder out" preflight --nodes 2
    mkdir scratch
    echo precious | tee scratch/notes.txt > scratch/probe.mine
    local here=("$project/slurm/preflight" --cluster "$project/tests/cluster/four_nodes.env" --nodes 1 --folder scratch)
    refuses "--folder takes a folder" "$project/slurm/preflight" --folder
    refuses "--cluster takes a name" "$project/slurm/preflight" --cluster
    ESPALIER=elsewhere/espalier refuses "the program $FAKE_SLURM/elsewhere/espalier is not there" "${here[@]}"
    ESPALIER=espalier "${here[@]}" > said.txt 2>&1 || true # two ranks on a node, of which the stand-in starts one
    says "ok     $folder/bin/espalier"
    says "1 ranks on 1 nodes instead of 2 on 1"
    [[ -e scratch/notes.txt && -e scratch/probe.mine ]] || complain "what was in --folder is gone"
    edit 's/^out = run/out = half%/; s/^time = 60/&\ngpus-per-node = 1\nsbatch = --reservation=ours/'
    refuses "the program was built without CUDA" preflight --qos=debug
    says "ok     1 ranks on 1 nodes"
    says "ok     $(env -u OMP_NUM_THREADS -u OMP_THREAD_LIMIT nproc) cores for each rank, 1 asked for"
    says "ok     Open MPI v4.1.4 joins all 1 ranks"
    grep -q '^sbatch .*--gpus-per-node=1.*--reservation=ours.*--time=5 .*--qos=debug' calls || complain "another job: $(grep '^sbatch' calls)"
    not_called '^sbatch .*--signal'
    grep -q '^sbatch .*--output=.*/half%%.preflight/log.txt' calls || complain "a folder's % is sbatch's: $(grep '^sbatch' calls)"
    ! grep '^srun ' calls | grep -vE -- '--mpi=list|--cpus-per-task=1 ' || complain "srun is not told of a rank's cores"
    edit '/^gpus-per-node/d'
    ends_with 0 preflight
    says "ok     $(python3 --version) on the first node"
    mkdir without
    printf '#!/bin/sh\nexit 127\n' > without/python3
    chmod +x without/python3
    PATH=$FAKE_SLURM/without:$PATH refuses "python3 does not run on the first node" preflight
    # A probe that fails, the second here, leaves the rest to be looked at.
    echo 2 > fails.srun
    refuses "no rank started" preflight
    says "ok     Open MPI v4.1.4 joins all 1 ranks"
}

test_a_log_that_is_late() {
    new_run late
    mkdir bin
    printf '#!/bin/sh\n"%s" "$@" || exit\nmv "$FAKE_SLURM/run.preflight/log.txt" "$FAKE_SLURM/log"\n' "$folder/bin/sbatch" > bin/sbatch
    printf '#!/bin/sh\n[ ! -e "$FAKE_SLURM/log" ] || mv "$FAKE_SLURM/log" "$FAKE_SLURM/run.preflight/log.txt"\n' > bin/sleep
    chmod +x bin/{sbatch,sleep}
    PATH=$FAKE_SLURM/bin:$PATH ends_with 0 preflight
    says fit
    printf '#!/bin/sh\n' > bin/sleep
    PATH=$FAKE_SLURM/bin:$PATH refuses "nothing of it is in" preflight
}

# facts_are SED...: what the program says of itself is changed so
facts_are() { printf '%s\n' "$@" > facts; }

test_libraries() {
    new_run libraries
    facts_are 's/"cuda": false/"cuda": true/'
    edit 's/^time = 60/&\ngpus-per-node = 1/'
    ends_with 0 preflight
    says "ok     HDF5 1.10.8, the parallel build (built against 1.10.8)"
    says "ok     cuBLASLt 12.8.4 (built against 12.8.4)"
    says "ok     NCCL 2.28.9 (built against 2.9.5)"
    says "ok     CUDA runtime 12.8, driver for CUDA up to 12.6"
    refuses_facts '/"hdf5"/,/}/s/"found": "1.10.8"/"found": "1.14.6"/' "HDF5 1.14.6 is found, the program was built against 1.10.8"
    says "load_modules()"
    refuses_facts '/"hdf5"/,/}/s/true/false/' "HDF5 1.10.8 is found, but not a build with MPI"
    refuses_facts '/"nccl"/,/}/s/"built": "2.9.5"/"built": "2.30.1"/' "NCCL 2.28.9 is found, older than 2.30.1"
    refuses_facts '/"cublaslt"/,/}/s/"found": "12.8.4"/"found": "12.4.1"/' "cuBLASLt 12.4.1 is found, older than 12.8.4"
    refuses_facts '/"cuda_driver"/,/}/s/12.6/11.8/' "the driver runs CUDA up to 11.8, the program was built with 12.8"
    refuses_facts '/"found": "12.6"/d' "there is no NVIDIA driver where the program ran"
    # Nodes without GPUs need none, and a program without CUDA has nothing to say of it.
    edit '/^gpus-per-node/d'
    ends_with 0 preflight
    says_nothing_of driver
    facts_are '/"cuda_driver"/,$d'
    ends_with 0 preflight
    says_nothing_of NCCL
}
refuses_facts() { # SED WORDS
    facts_are 's/"cuda": false/"cuda": true/' "$1"
    refuses "$2" preflight
}

test_a_library_that_is_missing() {
    new_run missing
    edit "s|^espalier = .*|espalier = $FAKE_SLURM/broken|"
    printf '#!/bin/sh\n[ "$2" = --dump-config ] || { echo "$0: error while loading shared libraries: libhdf5.so.310: cannot open shared object file" >&2; exit 127; }\n' > broken
    chmod +x broken
    refuses "the program did not run" preflight
    says "libhdf5.so.310"
    says "load_modules()"
}

test_advice() {
    new_run advice
    # shellcheck source=slurm/lib/findings.sh
    (source "$project/slurm/lib/findings.sh"; for reason in Priority PartitionConfig QOSMaxNodePerUserLimit; do echo "$reason$(advice_on "$reason")"; done) > said.txt
    says "PartitionConfig: the partition has no such nodes"
    says "QOSMaxNodePerUserLimit: account or qos"
    grep -qx Priority said.txt || complain "advice on what passes by itself: $(cat said.txt)"
}

test_bandwidth() {
    new_run bandwidth
    printf 'file_system_gbs=1e3\n' > site.env
    edit 's/^model = .*/&\ncluster = site.env/'
    refuses "file_system_gbs=1e3: GB/s as a number" preflight
    echo 'file_system_gbs=100000' > site.env
    refuses "less than half of the 100000 GB/s that the cluster's file expects (file_system_gbs)" preflight
    says "parallel file system"
    echo 'file_system_gbs=0.0001' > site.env
    ends_with 0 preflight
    says "; 0.0001 GB/s expected"
    says "one node: no network to measure"
    : > site.env
    ends_with 0 preflight
    says "(not judged: the cluster's file has no file_system_gbs)"
}

# Of two nodes the stand-in starts one, of which the network's benchmark says what is in a file.
test_network() {
    new_run network
    mkdir -p bin/benchmarks
    cp "$folder"/bin/{espalier,probe.json} bin/
    edit "s|^espalier = .*|espalier = $FAKE_SLURM/bin/espalier|; s/^model = .*/&\ncluster = site.env/; s/^time = 60/&\nnodes = 2/"
    echo 'network_gbs=25' > site.env
    refuses "instead of 2 on 2" preflight
    says "note   the network was not measured"
    printf '#!/bin/sh\ncat "$FAKE_SLURM/measured"\n' > bin/benchmarks/collectives_benchmark
    chmod +x bin/benchmarks/collectives_benchmark
    refuses "collectives_benchmark did not run" preflight
    echo "2.1 us, 22.500 GB/s between neighbours; all-reduce of 4 MB 9.000 GB/s, 80 % of a ring's bound" > measured
    refuses "instead of 2 on 2" preflight
    says "ok     network, a rank on each node, host memory: 2.1 us, 22.500 GB/s"
    grep -q '^srun .*--ntasks=2 --ntasks-per-node=1 .*collectives_benchmark --quick' calls || complain "ranks of one node were measured: $(grep '^srun .*quick' calls)"
    echo "21.0 us, 2.900 GB/s between neighbours; all-reduce of 4 MB 1.000 GB/s, 80 % of a ring's bound" > measured
    refuses "less than half of the 25 GB/s that the cluster's file expects (network_gbs)" preflight
    says "MPI may have taken the wrong network"
    : > site.env
    refuses "instead of 2 on 2" preflight
    says "(not judged: the cluster's file has no network_gbs)"
    # Between GPUs it is NCCL that counts.
    facts_are 's/"cuda": false/"cuda": true/'
    edit 's/^nodes = 2/&\ngpus-per-node = 1/'
    on_gpus refuses "instead of 2 on 2" preflight
    says "ok     NCCL, all ranks: 21.0 us, 2.900 GB/s"
    grep -q '^srun .*collectives_benchmark --device cuda --quick' calls || complain "NCCL was not asked: $(grep '^srun .*quick' calls)"
    : > measured
    on_gpus refuses "NCCL does not work between the ranks' GPUs" preflight
}
on_gpus() { SLURM_GPUS_ON_NODE=1 SLURM_NTASKS=2 "$@"; }

run_tests "${@:2}"
