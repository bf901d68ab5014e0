#include "kernels/cuda/attention_cudnn.hpp"

#include <cudnn_frontend.h>

#include <algorithm>
#include <array>
#include <map>
#include <memory>
#include <tuple>
#include <unordered_map>

#include "kernels/attention_heads.hpp"
#include "src/core/exact.hpp"

// A graph describes one pass over one shape: tensors [batch, heads, seq, head_dim] with their strides, which
// are those of our packed rows, so that nothing is copied. What it is run on are addresses by tensors' ids.

namespace espalier::cuda::cudnn {
namespace {

using cudnn_frontend::graph::Graph;
using cudnn_frontend::graph::Tensor_attributes;

constexpr int64_t most_workspace = int64_t{6} << 30;

/// Compiled graphs that are kept; the next one begins anew. More than a step has: samples of all lengths, as
/// multiple-choice questions are, would have them grow for ever.
constexpr size_t most_graphs = 256;

void check_cudnn(cudnnStatus_t code, const char* call) {
    if (code == CUDNN_STATUS_SUCCESS) return;
    throw InternalError(fmt::format("{} failed: {}", call, cudnnGetErrorString(code)));
}
void check_cudnn(const cudnn_frontend::error_object& error, const char* call) {
    if (error.is_good()) return;
    throw InternalError(fmt::format("{} failed: {}", call, error.err_msg));
}
#define CHECK_CUDNN(call) check_cudnn((call), #call)

enum class Pass { forward, backward };
enum Id : int64_t { id_q = 1, id_k, id_v, id_o, id_lse, id_d_o, id_dq, id_dk, id_dv };
using Addresses = std::unordered_map<int64_t, void*>;

int64_t o_width(const AttentionShape& s) {
    return s.query_heads * s.head_dim;
}

/// `heads` heads that stand side by side in rows of `width` elements, a row a token.
void describe(Tensor_attributes& x, Id id, const AttentionShape& s, int64_t heads, int64_t width) {
    x.set_uid(id).set_dim({s.batch, heads, s.seq, s.head_dim});
    x.set_stride({s.seq * width, s.head_dim, width, 1});
}
void describe_lse(Tensor_attributes& x, const AttentionShape& s) {
    x.set_uid(id_lse).set_dim({s.batch, s.query_heads, s.seq, 1});
    x.set_stride({s.query_heads * s.seq, s.seq, 1, 1}).set_data_type(cudnn_frontend::DataType_t::FLOAT);
}

auto input(Graph& graph, Id id, const AttentionShape& s, int64_t heads, int64_t width) {
    Tensor_attributes x;
    describe(x, id, s, heads, width);
    return graph.tensor(x);
}
void output(Tensor_attributes& x, Id id, const AttentionShape& s, int64_t heads, int64_t width) {
    x.set_output(true);
    describe(x, id, s, heads, width);
}

/// Scale and mask, alike for both passes. A left bound of w lets query q see key k where q - k < w, as ours.
template <class Options>
Options options_of(const AttentionShape& s) {
    Options options;
    options.set_attn_scale(s.scale)
        .set_diagonal_alignment(cudnn_frontend::DiagonalAlignment_t::TOP_LEFT)
        .set_diagonal_band_right_bound(0);
    if (s.window > 0 && s.window < s.seq) options.set_diagonal_band_left_bound(narrow<int>(s.window));
    return options;
}

void describe_forward(Graph& graph, const AttentionShape& s) {
    auto options = options_of<cudnn_frontend::graph::SDPA_attributes>(s).set_generate_stats(true);
    const auto [o, lse] = graph.sdpa(input(graph, id_q, s, s.query_heads, qkv_width(s)),
                                     input(graph, id_k, s, s.kv_heads, qkv_width(s)),
                                     input(graph, id_v, s, s.kv_heads, qkv_width(s)), options);
    output(*o, id_o, s, s.query_heads, o_width(s));
    lse->set_output(true);
    describe_lse(*lse, s);
}

void describe_backward(Graph& graph, const AttentionShape& s) {
    Tensor_attributes lse;
    describe_lse(lse, s);
    auto options =
        options_of<cudnn_frontend::graph::SDPA_backward_attributes>(s).set_deterministic_algorithm(true);
    const auto [dq, dk, dv] = graph.sdpa_backward(
        input(graph, id_q, s, s.query_heads, qkv_width(s)), input(graph, id_k, s, s.kv_heads, qkv_width(s)),
        input(graph, id_v, s, s.kv_heads, qkv_width(s)), input(graph, id_o, s, s.query_heads, o_width(s)),
        input(graph, id_d_o, s, s.query_heads, o_width(s)), graph.tensor(lse), options);
    output(*dq, id_dq, s, s.query_heads, qkv_width(s));
    output(*dk, id_dk, s, s.kv_heads, qkv_width(s));
    output(*dv, id_dv, s, s.kv_heads, qkv_width(s));
}

/// False where the library has no engine for the graph. Whatever fails until an engine is found counts as
/// that: which of its codes says so varies with the version, and a broken device fails our own kernel next.
bool compile(Graph& graph, cudnnHandle_t handle) {
    if (graph.validate().is_bad() || graph.build_operation_graph(handle).is_bad() ||
        graph.create_execution_plans({cudnn_frontend::HeurMode_t::A}).is_bad()) {
        return false;
    }
    graph.deselect_workspace_greater_than(most_workspace);
    return graph.check_support().is_good() && graph.build_plans().is_good();
}

/// The library's handle and the graphs of a context, each compiled when it is first wanted.
class Graphs {
public:
    explicit Graphs(Context& ctx) : ctx_(ctx) {
        CHECK_CUDNN(cudnnCreate(&handle_));
        CHECK_CUDNN(cudnnSetStream(handle_, ctx.stream()));
    }
    ~Graphs() { cudnnDestroy(handle_); }
    Graphs(const Graphs&) = delete;
    Graphs& operator=(const Graphs&) = delete;

    /// False where there is no such graph. Asynchronous on the context's stream.
    bool run(Pass pass, const AttentionShape& s, Addresses addresses) {
        const Graph* const graph = find(pass, s);
        if (!graph) return false;
        const Tensor workspace = ctx_.empty({scratch_of(*graph)}, DType::u8);
        CHECK_CUDNN(graph->execute(handle_, addresses, workspace.raw()));
        return true;
    }

    /// Bytes; 0 where there is no such graph.
    int64_t scratch(Pass pass, const AttentionShape& s) {
        const Graph* const graph = find(pass, s);
        return graph ? scratch_of(*graph) : 0;
    }

private:
    static int64_t scratch_of(const Graph& graph) {
        int64_t bytes = 0;
        CHECK_CUDNN(graph.get_workspace_size(bytes));
        return bytes;
    }

    using Key = std::tuple<Pass, int64_t, int64_t, int64_t, int64_t, int64_t, float, int64_t>;

    /// Null where there is none; until the next call.
    const Graph* find(Pass pass, const AttentionShape& s) {
        const Key key{pass, s.batch, s.seq, s.query_heads, s.kv_heads, s.head_dim, s.scale, s.window};
        const auto found = graphs_.find(key);
        if (found != graphs_.end()) return found->second.get();
        if (graphs_.size() == most_graphs) {
            ctx_.wait();  // for those that are still to run
            graphs_.clear();
        }
        return graphs_.emplace(key, make(pass, s)).first->second.get();
    }

    std::unique_ptr<Graph> make(Pass pass, const AttentionShape& s) {
        auto graph = std::make_unique<Graph>();
        graph->set_io_data_type(cudnn_frontend::DataType_t::BFLOAT16)
            .set_intermediate_data_type(cudnn_frontend::DataType_t::FLOAT)
            .set_compute_data_type(cudnn_frontend::DataType_t::FLOAT);
        if (pass == Pass::forward) describe_forward(*graph, s);
        if (pass == Pass::backward) describe_backward(*graph, s);
        return compile(*graph, handle_) ? std::move(graph) : nullptr;
    }

    Context& ctx_;
    cudnnHandle_t handle_ = nullptr;
    std::map<Key, std::unique_ptr<Graph>> graphs_;  // null: the library does not take it
};

/// Whether query heads read KV heads as a graph's do: head h KV head h / (query_heads / kv_heads).
bool reads_in_order(const AttentionShape& s) {
    if (s.kv_heads == 0 || s.query_heads % s.kv_heads != 0) return false;
    for (int64_t h = 0; h < s.query_heads; ++h) {
        if (kv_head_of(s, h) != h / (s.query_heads / s.kv_heads)) return false;
    }
    return true;
}

/// Whether a graph can say what is asked for.
bool can_say(DType dtype, const Tensor& starts, const AttentionShape& s) {
    const bool plain = dtype == DType::bf16 && !starts && s.soft_cap == 0;
    const bool has_work = s.batch * s.seq * s.query_heads > 0;
    return plain && has_work && s.head_dim % 8 == 0 && s.head_dim <= 256 && reads_in_order(s);
}

/// Where queries, keys and values begin in a packed tensor.
std::array<std::byte*, 3> parts_of(const Tensor& qkv, const AttentionShape& s) {
    const int64_t head = s.head_dim * static_cast<int64_t>(size_of(qkv.dtype()));
    std::byte* const keys = qkv.raw() + s.query_heads * head;
    return {qkv.raw(), keys, keys + s.kv_heads * head};
}

}  // namespace

bool linked() {
    return true;
}

bool attention(Context& ctx, const Tensor& qkv, const Tensor& starts, const AttentionShape& shape, Tensor& o,
               Tensor& lse) {
    if (!can_say(qkv.dtype(), starts, shape)) return false;
    const auto [q, k, v] = parts_of(qkv, shape);
    return ctx.resource<Graphs>().run(
        Pass::forward, shape, {{id_q, q}, {id_k, k}, {id_v, v}, {id_o, o.raw()}, {id_lse, lse.raw()}});
}

bool attention_backward(Context& ctx, const Tensor& d_o, const Tensor& qkv, const Tensor& starts,
                        const Tensor& o, const Tensor& lse, const AttentionShape& shape, Tensor& dqkv) {
    if (!can_say(qkv.dtype(), starts, shape)) return false;
    const auto [q, k, v] = parts_of(qkv, shape);
    const auto [dq, dk, dv] = parts_of(dqkv, shape);
    return ctx.resource<Graphs>().run(Pass::backward, shape,
                                      {{id_q, q},
                                       {id_k, k},
                                       {id_v, v},
                                       {id_o, o.raw()},
                                       {id_lse, lse.raw()},
                                       {id_d_o, d_o.raw()},
                                       {id_dq, dq},
                                       {id_dk, dk},
                                       {id_dv, dv}});
}

int64_t scratch(Context& ctx, DType dtype, const AttentionShape& shape) {
    if (!can_say(dtype, {}, shape)) return 0;
    auto& graphs = ctx.resource<Graphs>();
    return std::max(graphs.scratch(Pass::forward, shape), graphs.scratch(Pass::backward, shape));
}

}  // namespace espalier::cuda::cudnn
