#!/usr/bin/env bash
# Plants includes that point up in a copy of the tree's skeleton: each must be found, and nothing else.
set -euo pipefail
check=$(realpath "$(dirname "$0")/includes.sh")
tree=$(mktemp -d)
trap 'rm -rf "$tree"' EXIT
failures=0

# expect found|nothing FILE INCLUDE...
expect() {
    local wanted=$1 file=$2 outcome=nothing
    rm -rf "${tree:?}"/*
    mkdir -p "$tree"/{src,kernels,io,jobs} "$tree/$(dirname "$file")"
    printf '#include %s\n' "${@:3}" > "$tree/$file"
    [[ $file != */self.cpp ]] || touch "$tree/${file%.cpp}.hpp"
    "$check" "$tree" > /dev/null || outcome=found
    if [[ $outcome != "$wanted" ]]; then
        echo "$file with ${*:3}: expected $wanted, got $outcome"
        failures=$((failures + 1))
    fi
}

expect found src/core/a.hpp '"kernels/norm.hpp"'
expect found src/core/a.hpp '<mpi.h>'
expect found src/core/a.hpp '<nlohmann/json.hpp>'
expect found kernels/a.cpp '"src/comm/communicator.hpp"'
expect found kernels/a.cpp '"kernels/reference/norm.hpp"'
expect found kernels/cpu/a.cpp '"src/model/layer.hpp"'
expect found kernels/cpu/a.cpp '<hdf5.h>'
expect found src/comm/a.cpp '"src/model/layer.hpp"'
expect found src/data/a.hpp '"src/comm/communicator.hpp"'
expect found src/json/a.hpp '"src/model/architecture.hpp"'
expect found src/tokenizer/a.hpp '"src/model/architecture.hpp"'
expect found src/model/a.hpp '"src/train/optimizer.hpp"'
expect found src/model/a.hpp '"kernels/cpu/vector_math.hpp"'
expect found src/model/a.cpp '"io/tensor_file.hpp"'
expect found src/prune/a.cpp '"src/evaluate/perplexity.hpp"'
expect found src/prune/a.cpp '"jobs/session/options.hpp"'
expect found src/train/a.cpp '"src/distill/objective.hpp"'
expect found src/evaluate/a.cpp '"io/tensor_file.hpp"'
expect found io/a.hpp '"src/model/parameters.hpp"'
expect found io/a.hpp '"src/prune/slice.hpp"'
expect found io/a.cpp '"src/comm/communicator.hpp"'
expect found io/a.hpp '"jobs/session/options.hpp"'
expect found io/a.hpp '  "src/train/optimizer.hpp"'
expect found jobs/job.hpp '"jobs/session/session.hpp"'
expect found jobs/session/a.cpp '"jobs/files/model_file.hpp"'
expect found jobs/session/a.cpp '"src/model/architecture.hpp"'
expect found jobs/files/a.cpp '"jobs/data/tokens.hpp"'
expect found jobs/data/a.cpp '"jobs/training/training.hpp"'
expect found jobs/pruning/a.cpp '"jobs/training/training.hpp"'
expect found jobs/training/a.cpp '"jobs/pruning/scoring.hpp"'
expect found jobs/training/a.cpp '"jobs/search/options.hpp"'
expect found jobs/search/a.cpp '"jobs/pruning/options.hpp"'
expect found jobs/plan/a.cpp '"jobs/files/model_file.hpp"'
expect found jobs/report/a.cpp '"jobs/session/session.hpp"'
expect found jobs/training/a.cpp '"jobs/prune.hpp"'
expect found jobs/training/a.cpp '<boost/program_options.hpp>'
expect found jobs/training/a.cpp '<mpi.h>'
expect found jobs/unlisted/a.cpp '<vector>'
expect found src/unlisted/a.cpp '<vector>'
expect found src/model/a.cpp '<hdf5.h>'
expect found src/distill/a.cpp '<mpi.h>'
expect found io/self.cpp '<vector>' '"io/self.hpp"'

expect found src/model/a.cpp '<cuda_runtime.h>'
expect found kernels/a.cpp '<cublasLt.h>'
expect found kernels/a.cpp '<cudnn_frontend.h>'
expect found kernels/cuda/a.cpp '<nccl.h>'

expect nothing kernels/cuda/a.cu '<cuda_bf16.h>' '"src/core/context.hpp"'
expect nothing src/core/a.cpp '<vector>' '"src/core/error.hpp"'
expect nothing kernels/a.cpp '"src/core/tensor.hpp"' '"kernels/cpu/norm.hpp"'
expect nothing src/comm/a.cpp '<mpi.h>' '"kernels/elementwise.hpp"'
expect nothing src/model/a.cpp '"src/comm/topology.hpp"' '"kernels/norm.hpp"' '<nlohmann/json.hpp>'
expect nothing src/tokenizer/a.cpp '"src/json/field.hpp"' '<nlohmann/json.hpp>'
expect found src/distill/a.cpp '"src/train/optimizer.hpp"'
expect nothing io/a.cpp '<hdf5.h>' '<mpi.h>' '"src/core/box.hpp"'
expect nothing jobs/a.cpp '"io/tensor_file.hpp"' '"src/model/layer.hpp"' '"jobs/search/options.hpp"'
expect nothing jobs/session/a.cpp '<boost/program_options.hpp>' '"jobs/job.hpp"' '"io/publish.hpp"'
expect nothing jobs/files/a.cpp '<nlohmann/json.hpp>' '"jobs/session/session.hpp"' '"src/model/architecture.hpp"'
expect nothing jobs/pruning/a.cpp '"jobs/data/tokens.hpp"' '"jobs/files/model_file.hpp"' '"src/prune/choose.hpp"'
expect nothing jobs/search/a.cpp '"jobs/training/training.hpp"' '"jobs/data/tokens.hpp"'
expect nothing io/self.cpp '"io/self.hpp"' '<vector>'

[[ $failures -eq 0 ]]
