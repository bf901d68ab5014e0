#include "src/distill/state_loss.hpp"

#include <algorithm>
#include <utility>

#include "kernels/elementwise.hpp"
#include "kernels/matmul.hpp"

namespace espalier::distill {
namespace {

/// A mean distance that is rounding alone: states that agree need no gradient, and a ratio to it says
/// nothing.
constexpr double smallest_distance = 0x1p-20;

std::vector<model::StateName> names(const StateTerms& terms, const std::vector<size_t>& pairs,
                                    model::StateName StatePair::*side) {
    std::vector<model::StateName> out;
    for (const size_t p : pairs) out.push_back(terms.pairs[p].*side);
    return out;
}

}  // namespace

/// Tl tokens of this rank; Hs, Ht the models' widths.
class StateLoss::Pass : public model::StatePass, private model::Injector {
public:
    Pass(StateLoss& loss, const std::vector<size_t>& pairs, const Tensor& labels)
        : loss_(loss),
          labels_(mine(loss.student_.tensor(), labels)),
          watch_(loss.student_.tensor(), names(loss.terms_, pairs, &StatePair::student),
                 [this, &pairs](Context& ctx, size_t i, const Tensor& x) { compare(ctx, pairs[i], x); }) {}

    model::Observer& observer() override { return watch_; }
    /// Here, not where they are made, so that a device has all of the pass to do before somebody waits.
    double sum(Context& ctx) override {
        const Timed timed = ctx.computing();
        double total = 0;
        for (const Tensor& distances : std::exchange(distances_, {})) {
            const Tensor on_host = ctx.to_host(distances);
            for (const float d : on_host.span<float>()) total += static_cast<double>(d);
        }
        return total;
    }
    model::Injector& injector(double weight) override {
        weight_ = static_cast<float>(weight);
        return *this;
    }

private:
    struct Kept {
        model::StateName name;
        Tensor student;   // [Tl, Hs]; empty without a projection
        Tensor gradient;  // [Tl, Ht]  of the distance to the lifted state
    };

    static Tensor mine(const comm::Communicator& tensor, const Tensor& labels) {
        const Range rows = comm::my_rows(tensor, labels.dim(0));
        return labels.rows(rows.begin, rows.size());
    }

    /// x [Tl, Hs]
    void compare(Context& ctx, size_t pair, const Tensor& x) {
        const Tensor teacher = loss_.next_teacher_state(ctx, pair);
        Tensor lifted = x;
        if (loss_.projection_) {
            lifted = ctx.empty(teacher.shape(), DType::f32);
            matmul(ctx, x, loss_.projection_->weight(), {}, lifted);
        }
        Tensor distances = ctx.empty({x.dim(0)}, DType::f32),
               gradient = ctx.empty(teacher.shape(), x.dtype());
        state_distance(ctx, loss_.terms_.distance, lifted, teacher, distances, gradient);
        clear_unscored(ctx, labels_, distances);
        clear_unscored(ctx, labels_, gradient);
        distances_.push_back(distances);
        kept_.push_back({loss_.terms_.pairs[pair].student, loss_.projection_ ? x : Tensor(), gradient});
    }

    /// d [Tl, Hs] +=, and d W += where there is one
    void add_gradients(Context& ctx, model::StateName name, Tensor& d) {
        for (Kept& k : kept_) {
            if (!(k.name == name)) continue;
            Tensor gradient = std::exchange(k.gradient, {});
            scale(ctx, weight_, gradient);
            if (!loss_.projection_) {
                add(ctx, d, gradient, d);
                continue;
            }
            Tensor d_weight = loss_.projection_->gradient();
            matmul_backward_input(ctx, gradient, loss_.projection_->weight(), d, Store::accumulate);
            matmul_backward_weight(ctx, gradient, std::exchange(k.student, {}), d_weight);
        }
    }
    void residual(Context& ctx, int64_t layer, Tensor& d) override {
        add_gradients(ctx, {model::Site::residual, layer}, d);
    }
    void norm_output(Context& ctx, model::StateName name, Tensor& d) override { add_gradients(ctx, name, d); }

    StateLoss& loss_;
    Tensor labels_;  // [Tl]
    model::StateWatch watch_;
    std::vector<Kept> kept_;
    std::vector<Tensor> distances_;  // [Tl] of each pair
    float weight_ = 0;
};

StateLoss::StateLoss(StateTerms terms, const model::Transformer& student, const comm::Topology& topology,
                     Projection* projection)
    : terms_(std::move(terms)), student_(student), projection_(projection), seen_(terms_.pairs.size()) {
    const int virtual_stages = narrow<int>(student.placement().virtual_stages.size());
    pairs_of_.resize(static_cast<size_t>(virtual_stages));
    for (size_t p = 0; p < terms_.pairs.size(); ++p) {
        const auto at = model::place_of_state(student.architecture(), topology.layout.pp, virtual_stages,
                                              terms_.pairs[p].student);
        if (at.stage == topology.stage()) pairs_of_[at.virtual_stage].push_back(p);
    }
    for (const auto& pairs : pairs_of_) {
        teacher_.emplace_back(
            student.tensor(), names(terms_, pairs, &StatePair::teacher),
            [this, &pairs](Context&, size_t i, const Tensor& x) { seen_[pairs[i]].push_back(x); });
    }
}

int64_t StateLoss::teacher_width() const {
    return projection_ ? projection_->weight().dim(0) : student_.architecture().hidden;
}

int64_t StateLoss::kept_bytes(int virtual_stage, int64_t rows) const {
    int64_t width = 0;
    for (const size_t p : pairs_of_[virtual_stage]) {
        const bool kept_by_the_model = terms_.pairs[p].student.site == model::Site::residual;
        width += teacher_width() + (projection_ && !kept_by_the_model ? student_.architecture().hidden : 0);
    }
    return rows * width * static_cast<int64_t>(size_of(student_.dtype()));
}

int64_t StateLoss::teacher_bytes(int64_t rows) const {
    int64_t pairs = 0;
    for (const auto& some : pairs_of_) pairs += std::ssize(some);
    return pairs * rows * teacher_width() * static_cast<int64_t>(size_of(student_.dtype()));
}

model::Observer& StateLoss::teacher_pass(int virtual_stage) {
    return teacher_[virtual_stage];
}

std::unique_ptr<model::StatePass> StateLoss::student_pass(int virtual_stage, const Tensor& labels) {
    return std::make_unique<Pass>(*this, pairs_of_[virtual_stage], labels);
}

Tensor StateLoss::next_teacher_state(Context& ctx, size_t pair) {
    if (source_) return source_(ctx, pair);
    Tensor state = std::move(seen_[pair].front());
    seen_[pair].pop_front();
    return state;
}

double StateLoss::weigh(double sum, int64_t tokens) {
    const bool agree = sum <= smallest_distance * static_cast<double>(tokens);
    const double alpha = terms_.weight ? *terms_.weight : agree ? 0.0 : logits_loss_ / sum;
    sums_.distance += sum;
    sums_.loss += alpha * sum;
    return alpha * token_weight_;
}

bool meet_in_pipeline(const StateTerms& terms, const model::Architecture& teacher,
                      const model::Architecture& student, int stages, int virtual_stages) {
    return std::all_of(terms.pairs.begin(), terms.pairs.end(), [&](const StatePair& pair) {
        return model::place_of_state(teacher, stages, virtual_stages, pair.teacher) ==
               model::place_of_state(student, stages, virtual_stages, pair.student);
    });
}

}  // namespace espalier::distill
