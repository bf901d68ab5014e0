// What a cluster is, in the numbers that the planner needs: published peaks, and how much of them programs
// get.
#pragma once

#include <cstdint>
#include <map>
#include <nlohmann/json.hpp>
#include <string>

#include "src/core/dtype.hpp"

namespace espalier::plan {

/// A connection as one device sees it: bytes per second in one direction, and seconds a message takes however
/// short it is. A collective gets `efficiency` of the bandwidth.
struct Link {
    double bandwidth = 0;
    double efficiency = 1;
    double latency = 0;

    double rate() const { return bandwidth * efficiency; }
};

/// Share of the peak that matrix products get. Small ones get less: with s = (m n k)^(1/3),
///   efficiency(s) = best / (1 + half_size / s)
/// so half_size is the size at which half of the best is reached (Hockney's n_1/2, Parallel Computing 2,
/// 1985).
/// Tensor cores want rows that begin at multiples of 16 bytes: where n or k is no multiple of 8, products get
/// `unaligned` of that (NVIDIA, Matrix Multiplication Background User's Guide).
struct MatmulCurve {
    double best = 1;
    double half_size = 0;
    double unaligned = 1;

    double efficiency(double m, double n, double k) const;
};

/// "GPU" stands for whatever a rank computes on; a file written by --calibrate describes processor cores.
struct System {
    std::string name;
    std::string source;  ///< where the numbers are from
    int64_t gpus_per_node = 1;
    double memory_bytes = 0;
    double reserved_bytes = 0;           ///< of memory_bytes, held by driver and communication libraries
    std::map<DType, double> peak_flops;  ///< of dense products, FLOP/s; bf16, f32 or both
    MatmulCurve matmul;
    double attention_efficiency = 0.5;  ///< share of the peak that fused attention gets
    double memory_bandwidth = 0;        ///< bytes/s
    double memory_efficiency = 1;       ///< share of it that element-wise work gets
    double launch_seconds = 0;          ///< the host's time to start a kernel
    Link node, network;                 ///< inside a node, and between nodes
    double watts = 0;                   ///< of a GPU with its share of the node
    double price_per_hour = 0;          ///< of a GPU; 0: not known

    /// Throws UserError naming the dtypes there are.
    double peak(DType dtype) const;
    /// What is planned in where nobody says: bf16 where there is a peak for it.
    DType default_dtype() const;
};

/// Unknown keys, missing ones and numbers out of range throw UserError naming `source` and the key.
System system_from_json(const nlohmann::json& object, const std::string& source);
nlohmann::ordered_json to_json(const System& system);

}  // namespace espalier::plan
