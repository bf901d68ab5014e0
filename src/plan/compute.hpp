// How long one micro-batch takes in a layer and in the head, on one rank. Sources of the formulas:
// docs/planner.md.
#pragma once

#include "src/plan/layout.hpp"
#include "src/plan/system.hpp"

namespace espalier::plan {

/// Seconds, apart by what they go into.
struct Seconds {
    double compute = 0;
    double tensor = 0;  ///< tensor parallel collectives

    double sum() const { return compute + tensor; }
    Seconds& operator+=(const Seconds& o) {
        compute += o.compute;
        tensor += o.tensor;
        return *this;
    }
};

struct Passes {
    Seconds forward;
    Seconds backward;  ///< with what it computes again

    Passes& operator+=(const Passes& o) {
        forward += o.forward;
        backward += o.backward;
        return *this;
    }
};

class Compute {
public:
    /// Refers to its arguments.
    Compute(const System& system, const Step& step, const Layout& layout);

    /// A product of [m, k] and [k, n]: 2 m n k / (peak efficiency).
    double matmul(double m, double n, double k) const;
    /// Reading and writing so many bytes.
    double traffic(double bytes) const;

    /// Layer `index` of the model: both passes.
    Passes layer(const model::Architecture& a, int64_t index) const;
    /// Final norm, logits, loss and their gradients: of the student, and of the teacher where there is one.
    Passes head() const;

private:
    struct Parts;  // of a layer's forward pass
    Parts parts(const model::Architecture& a, int64_t index) const;
    Seconds forward(const Parts& p) const;
    Seconds selective_again(const Parts& p) const;
    Seconds full_again(const Parts& p) const;
    Seconds bounded_by_launches(Seconds s, double launches) const;
    double head_product(const model::Architecture& a) const;

    const System& system_;
    const Step& step_;
    const Layout& layout_;
    double element_;       // bytes of a number that travels and that products read
    double tokens_;        // of a micro-batch
    double local_tokens_;  // of them, those whose norms and residuals this rank computes
    Link tensor_;
};

/// Heads, KV heads and neurons of tensor parallel rank 0, which has the most.
model::LayerShape local_shape(const model::Architecture& a, int64_t index, int64_t tp);

}  // namespace espalier::plan
