// A transformer, or the part of one that a rank holds: teacher, student, pruned and random model alike.
#pragma once

#include <functional>
#include <vector>

#include "src/comm/topology.hpp"
#include "src/model/layer.hpp"
#include "src/model/recompute.hpp"

namespace espalier::model {

enum class Gradients { none, keep };

/// What the backward pass of one micro-batch needs of one run of layers. Made with the Recompute it is to
/// serve.
struct SavedStage {
    Recompute recompute = Recompute::selective;
    std::vector<SavedLayer> layers;
    Tensor last;        ///< [Tl, H] into the final norm; last stage only
    Tensor last_stats;  ///< [Tl, 2]
};

/// What happens when a layer's backward pass is on the stream; with its index in the model.
using AfterLayer = std::function<void(int64_t layer)>;

class Transformer {
public:
    /// Weights are zero until they are read or initialised into parameters().
    Transformer(Context& ctx, Architecture architecture, Placement placement, comm::Communicator tensor,
                DType dtype, Gradients gradients);
    /// On the grid's own placement.
    Transformer(Context& ctx, const Architecture& architecture, const comm::Topology& topology, DType dtype,
                Gradients gradients, int virtual_stages = 1);

    const Architecture& architecture() const { return a_; }
    const Placement& placement() const { return placement_; }
    const comm::Communicator& tensor() const { return tensor_; }
    DType dtype() const { return set_.dtype(); }
    ParameterSet& parameters() { return set_; }
    const ParameterSet& parameters() const { return set_; }
    /// Flat f32 [parameters().flat_size()]; empty without Gradients::keep.
    Tensor& gradients() { return gradients_; }

    /// First stage: the tokens' embeddings, x [Tl, H].
    Tensor embed(Context& ctx, const TokenBatch& tokens) const;
    /// The layers of one of this stage's runs: x [Tl, H] -> [Tl, H].
    Tensor forward(Context& ctx, Tensor x, const TokenBatch& tokens, SavedStage* saved = nullptr,
                   Observer* observer = nullptr, int virtual_stage = 0);
    /// One layer of this stage, by its index in the model.
    Tensor forward_layer(Context& ctx, int64_t layer, const Tensor& x, const TokenBatch& tokens,
                         const ForwardExtras& extras);
    /// Last stage: the normed hidden states of all tokens, [T, H], gathered over the tensor parallel ranks.
    Tensor final_hidden(Context& ctx, const Tensor& x, const TokenBatch& tokens, SavedStage* saved = nullptr,
                        Observer* observer = nullptr) const;

    /// The same before it is gathered: [Tl, H] -> [Tl, H].
    Tensor final_norm(Context& ctx, const Tensor& x, SavedStage* saved = nullptr) const;

    /// Backward passes of final_hidden, forward and embed: every weight's gradient +=, gradients of
    /// activations are returned. d_hidden [T, H] is this rank's part of the sum over tensor parallel ranks;
    /// d_out, dx, whose elements they may change, and what comes back [Tl, H].
    Tensor final_hidden_backward(Context& ctx, const Tensor& d_hidden, const SavedStage& saved,
                                 Injector* injector = nullptr);
    Tensor backward(Context& ctx, Tensor d_out, const TokenBatch& tokens, SavedStage& saved,
                    int virtual_stage = 0, Injector* injector = nullptr, const AfterLayer& after = {});
    void embed_backward(Context& ctx, Tensor dx, const TokenBatch& tokens);

    /// The output projection [vocab of this rank, H], its bias [vocab of this rank], empty where there is
    /// none, and their gradients; last stage.
    Tensor head() const;
    Tensor head_bias() const;
    Tensor head_gradient() const;
    Tensor head_bias_gradient() const;
    /// Vocabulary ids of this rank's part of the head.
    Range vocabulary() const { return local_range(a_, -1, Axis::vocab, placement_.tensor); }

    const Layer& layer(int64_t index) const { return layers_.at(slot_of(index)); }
    /// The most that attention of one of this rank's layers takes for a while, in bytes.
    int64_t attention_scratch(Context& ctx, int64_t batch, int64_t seq) const;

private:
    const RotaryTable& rotary(Context& ctx, int64_t positions);
    size_t slot_of(int64_t layer) const;  // in layers_
    float embedding_scale() const;        // in the dtype of the weights

    Architecture a_;
    Placement placement_;
    comm::Communicator tensor_;
    ParameterSet set_;
    Tensor gradients_;
    std::vector<Layer> layers_;  // of all virtual stages, one after another
    RotaryTable rotary_;
};

/// Token ids as a tensor [n] i32 of ctx's device: what labels are given as.
Tensor ids_tensor(Context& ctx, const std::vector<int32_t>& ids);

/// Micro-batch of sequences [batch, seq] of ids; positions count from `first_position` in each.
TokenBatch make_batch(Context& ctx, const std::vector<int32_t>& ids, int64_t batch, int64_t seq,
                      int64_t first_position = 0);

}  // namespace espalier::model
