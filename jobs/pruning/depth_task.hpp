// Accuracy on multiple-choice questions without each contiguous block of layers.
#pragma once

#include "jobs/data/requests.hpp"
#include "jobs/session/session.hpp"
#include "src/model/transformer.hpp"

namespace espalier::jobs {

struct DepthAccuracy {
    std::vector<double> without;  ///< [layers - width + 1], by the first missing layer
    double whole = 0;             ///< of the model as it is
    int64_t questions = 0;
};

/// Collective. The layers before the missing ones run once for all variants.
DepthAccuracy depth_accuracy(Session& session, model::Transformer& model,
                             const std::vector<Question>& questions, int64_t width, int64_t micro_batch);

}  // namespace espalier::jobs
