// Runs a Hugging Face model of a folder on tokens from a file and writes what it computed, for a comparison
// with transformers: logits, the loss, and the gradient of every parameter under Hugging Face's names.
//   dump_model HF_FOLDER TOKENS.json OUT_FOLDER f32|bf16      TOKENS.json: [[ids], ...] of equal length
#include <fmt/core.h>

#include <nlohmann/json.hpp>

#include "io/publish.hpp"
#include "io/safetensors_writer.hpp"
#include "src/comm/mpi.hpp"
#include "src/distill/objective.hpp"
#include "src/model/logits.hpp"
#include "src/train/pipeline.hpp"
#include "tests/interop/model/foreign_weights.hpp"

using namespace espalier;

int main(int argc, char** argv) {
    if (argc != 5) return 2;
    comm::Mpi mpi(argc, argv);
    Context ctx({Device::cpu, 2});
    const auto source = jobs::open_foreign_model(argv[1]);
    const auto rows = nlohmann::json::parse(io::read_file(argv[2])).get<std::vector<std::vector<int32_t>>>();
    const auto batch = narrow<int64_t>(rows.size()), seq = narrow<int64_t>(rows[0].size()) - 1;
    std::vector<int32_t> ids, labels;
    for (const auto& row : rows) {
        ids.insert(ids.end(), row.begin(), row.end() - 1);
        labels.insert(labels.end(), row.begin() + 1, row.end());
    }
    model::Transformer model(ctx, source.architecture, {}, *dtype_from_string(argv[4]),
                             model::Gradients::keep);
    test::load(ctx, source, model);
    train::MicroBatch micro_batch{model::make_batch(ctx, ids, batch, seq),
                                  ctx.empty({batch * seq}, DType::i32)};
    std::copy(labels.begin(), labels.end(), micro_batch.labels.data<int32_t>());

    Tensor logits;
    distill::Objective objective(distill::parse_loss_terms("ce", 1));
    const comm::Topology serial;
    train::Pipeline(serial, model, nullptr)
        .step(ctx, {&micro_batch, 1}, {},
              [&](const train::MicroBatch& b, const Tensor& hidden, const Tensor&) {
                  logits = model::logits(ctx, model, hidden);
                  return objective.backward(ctx, model, hidden, {}, b.labels,
                                            1.0 / static_cast<double>(batch * seq));
              });

    std::vector<io::SafetensorsTensor> tensors{{"logits", logits.shape(), DType::f32}};
    std::vector<Tensor> values{logits};
    for (const auto& e : model.parameters().entries()) {
        const auto foreign = model::hugging_face_tensor(model.architecture(), e.parameter);
        tensors.push_back({foreign.name, foreign.shape, DType::f32});
        values.push_back(model::ParameterSet::view(model.gradients(), &e));
    }
    io::SafetensorsWriter writer(argv[3], io::SafetensorsLayout(tensors, int64_t{1} << 40),
                                 io::FileRole::create);
    for (size_t i = 0; i < values.size(); ++i) writer.write_rows(i, 0, {values[i].raw(), values[i].bytes()});
    writer.finish();
    fmt::print("{:.9g}\n", objective.sums(ctx).label / objective.sums(ctx).tokens);
    return 0;
}
