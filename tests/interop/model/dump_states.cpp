// Distils one Hugging Face model into another for a micro-batch, hidden states included, and writes the
// gradient of every parameter of the student and of the projection, and the projection itself, for a
// comparison with transformers.
//   dump_states STUDENT_FOLDER TEACHER_FOLDER TOKENS.json OUT_FOLDER MAP cosine|mse
// Prints the objective's terms: divergence, cross entropy, hidden loss, alpha.
#include <fmt/core.h>

#include <nlohmann/json.hpp>

#include "io/publish.hpp"
#include "io/safetensors_writer.hpp"
#include "src/comm/mpi.hpp"
#include "src/distill/objective.hpp"
#include "src/distill/state_loss.hpp"
#include "src/train/pipeline.hpp"
#include "tests/interop/model/foreign_weights.hpp"

using namespace espalier;

int main(int argc, char** argv) {
    if (argc != 7) return 2;
    comm::Mpi mpi(argc, argv);
    Context ctx({Device::cpu, 2});
    const auto student_source = jobs::open_foreign_model(argv[1]),
               teacher_source = jobs::open_foreign_model(argv[2]);
    const auto &s = student_source.architecture, &t = teacher_source.architecture;
    const auto rows = nlohmann::json::parse(io::read_file(argv[3])).get<std::vector<std::vector<int32_t>>>();
    const auto batch = narrow<int64_t>(rows.size()), seq = narrow<int64_t>(rows[0].size()) - 1;
    std::vector<int32_t> ids, labels;
    for (const auto& row : rows) {
        ids.insert(ids.end(), row.begin(), row.end() - 1);
        labels.insert(labels.end(), row.begin() + 1, row.end());
    }
    train::MicroBatch micro_batch{model::make_batch(ctx, ids, batch, seq),
                                  ctx.empty({batch * seq}, DType::i32)};
    std::copy(labels.begin(), labels.end(), micro_batch.labels.data<int32_t>());
    const comm::Topology serial;
    model::Transformer student(ctx, s, serial, DType::f32, model::Gradients::keep),
        teacher(ctx, t, serial, DType::f32, model::Gradients::none);
    test::load(ctx, student_source, student);
    test::load(ctx, teacher_source, teacher);

    const double tokens = static_cast<double>(batch * seq);
    distill::Projection projection(ctx, t.hidden, s.hidden, DType::f32);
    projection.scatter(ctx, 1);
    const auto terms = distill::parse_state_terms(argv[5], argv[6], "auto");
    distill::StateLoss states(distill::resolved(terms, t, argv[2], s, argv[1]), student, serial,
                              s.hidden == t.hidden ? nullptr : &projection);
    states.begin_step(1 / tokens);
    distill::Objective objective(distill::parse_loss_terms("kl=1,ce=0.3", 1.5));
    train::Pipeline(serial, student, &teacher, model::Recompute::selective, &states)
        .step(ctx, {&micro_batch, 1}, {},
              [&](const train::MicroBatch& b, const Tensor& hidden, const Tensor& teacher_hidden) {
                  const Tensor d =
                      objective.backward(ctx, student, hidden, distill::live_teacher(teacher, teacher_hidden),
                                         b.labels, 1 / tokens);
                  states.balance_with(objective.sums(ctx).divergence);
                  return d;
              });

    std::vector<io::SafetensorsTensor> tensors{{"projection", projection.weight().shape(), DType::f32},
                                               {"d_projection", projection.weight().shape(), DType::f32}};
    std::vector<Tensor> values{projection.weight(), projection.gradient()};
    for (const auto& e : student.parameters().entries()) {
        const auto foreign = model::hugging_face_tensor(student.architecture(), e.parameter);
        tensors.push_back({foreign.name, foreign.shape, DType::f32});
        values.push_back(model::ParameterSet::view(student.gradients(), &e));
    }
    io::SafetensorsWriter writer(std::string(argv[4]), io::SafetensorsLayout(tensors, int64_t{1} << 40),
                                 io::FileRole::create);
    for (size_t i = 0; i < values.size(); ++i) writer.write_rows(i, 0, {values[i].raw(), values[i].bytes()});
    writer.finish();
    fmt::print("{:.9g} {:.9g} {:.9g} {:.9g}\n", objective.sums(ctx).divergence / tokens,
               objective.sums(ctx).label / tokens, states.sums().distance / tokens,
               states.sums().loss / states.sums().distance);
    return 0;
}
