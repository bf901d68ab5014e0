// Gathers importance while a model runs forward.
#pragma once

#include <functional>

#include "src/comm/topology.hpp"
#include "src/model/transformer.hpp"
#include "src/prune/aggregate.hpp"

namespace espalier::prune {

/// Where a neuron is measured: what it hands to the down projection, or what the up projection gives it.
enum class NeuronSite { after_activation, before_activation };
std::string_view to_string(NeuronSite site);  ///< post, pre
/// Throws UserError naming `option`.
NeuronSite neuron_site_from_string(const std::string& name, const char* option);

/// Whether the dims of heads are scored too.
enum class HeadDimSums { none, keep };

/// Everything a scoring pass sums up; parts of it are zero until ranks are added.
struct ScoreSums {
    ScoreSums(const model::Architecture& a, int64_t block, HeadDimSums dims = HeadDimSums::none);

    UnitSums neurons;                  ///< [layers, widest ffn]
    UnitSums heads;                    ///< [layers, most query heads]
    UnitSums channels;                 ///< [2 layers + 1, hidden]: of each layer two norms; the final one
    UnitSums queries, keys, outputs;   ///< [layers, most heads * head_dim]; no rows where not asked for
    std::vector<double> layer_cosine;  ///< [layers] sum over tokens of cos(input, output)
    std::vector<double> block_cosine;  ///< [layers - block + 1] the same for blocks of layers; empty without
    std::vector<double> loss_without;  ///< [layers] sum over tokens of the loss without the layer
    std::vector<double> loss_without_blocks;  ///< the same without each block; as block_cosine
    double loss = 0;                          ///< sum over tokens
    double tokens = 0;
    double samples = 0;

    /// Collective: every rank gets the sums over all.
    void add_ranks(const comm::Communicator& world);
};

/// Takes each activation's moments where this rank has it: its own heads and neurons, and of the gathered
/// norm outputs its share of the channels, so that ranks never count a value twice. On a GPU the host adds
/// them to the sums while the device works on the next batch.
class Scorer : public model::Observer {
public:
    Scorer(const model::Transformer& model, NeuronSite site, ScoreSums& sums);
    ScoreSums& sums() { return sums_; }

    void norm_output(Context& ctx, model::StateName norm, const model::TokenBatch& tokens,
                     const Tensor& full) override;
    void rotated_qkv(Context& ctx, int64_t layer, const model::TokenBatch& tokens,
                     const Tensor& qkv) override;
    void heads(Context& ctx, int64_t layer, const model::TokenBatch& tokens, const Tensor& o) override;
    bool takes_neuron_moments() const override { return site_ == NeuronSite::after_activation; }
    void neurons(Context& ctx, int64_t layer, const model::TokenBatch& tokens, const Tensor& before,
                 const Tensor& after, const Tensor& moments) override;

    /// What `add` makes of x, on the host, joins the sums too.
    using Add = std::function<void(const Tensor& x)>;
    void add_later(const Tensor& x, Add add);
    /// Sends what was seen since the last call to the host, after adding what was sent then.
    void begin_collect(Context& ctx);
    /// Waits for what was sent, and adds it to the sums: on a CPU too they are complete only after a call
    /// that follows the last pass.
    void collect(Context& ctx);

private:
    struct Seen {
        Tensor x;
        Add add;
        Tensor on_host;  // once it is sent
    };
    /// The moments of these columns of x, to be added from (row, first_column) of a table on.
    void see(Context& ctx, UnitSums& table, int64_t row, int64_t first_column, const Tensor& x, Range columns,
             const model::TokenBatch& tokens);
    void add_moments(UnitSums& table, int64_t row, int64_t first_column, const Tensor& moments, int64_t seq);

    const model::Architecture& a_;
    model::TensorPart part_;
    NeuronSite site_;
    ScoreSums& sums_;
    std::vector<Seen> seen_, under_way_;
    PendingRead last_read_;  // of those under way, which arrive in order
};

}  // namespace espalier::prune
