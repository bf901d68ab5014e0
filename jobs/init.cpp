// init: random weights for a shape, the same on any number of ranks.
#include <cmath>

#include "io/publish.hpp"
#include "jobs/files/foreign_model.hpp"
#include "jobs/files/json_file.hpp"
#include "jobs/files/model_file.hpp"
#include "jobs/job.hpp"
#include "jobs/session/output_lock.hpp"
#include "jobs/session/progress.hpp"
#include "kernels/elementwise.hpp"
#include "src/core/error.hpp"
#include "src/core/random.hpp"

namespace espalier::jobs {
namespace {

/// Values of the rows from `first` on of a parameter: each a function of seed, name and position alone.
void initialise(const model::Architecture& a, const model::Parameter& p, uint64_t seed, int64_t first,
                Tensor& block, int threads) {
    const int64_t row = row_elements(p.shape), n = block.size();
    const uint64_t key = mix64(seed) ^ hash_name(p.name);
    float* values = block.data<float>();
    const double std = p.init == model::Init::scaled
                           ? a.conventions.init_std / std::sqrt(2.0 * static_cast<double>(a.depth()))
                           : a.conventions.init_std;
    switch (p.init) {
        case model::Init::normal:
        case model::Init::scaled:
#pragma omp parallel for num_threads(threads)
            for (int64_t i = 0; i < n; ++i)
                values[i] = static_cast<float>(std * normal(key, static_cast<uint64_t>(first * row + i)));
            return;
        case model::Init::identity:
            std::fill(values, values + n, a.norm.gain == Gain::weight ? 1.0f : 0.0f);
            return;
        case model::Init::zeros:
            std::fill(values, values + n, 0.0f);
            return;
    }
}

}  // namespace

int init(const std::vector<std::string>& arguments, comm::Mpi&) {
    std::string arch, out, store_dtype = "f32";
    const auto declare = [&](Options& options) {
        options.required("arch", arch,
                         "ARCH.json: an HF config.json, or what `inspect --json` prints as architecture");
        options.required("out", out, "M.h5");
        options.add("store-dtype", store_dtype, "f32 or bf16");
    };
    return run_job("init", arguments, declare, [&](Session& session, const Options&) {
        const OutputLock lock(session, out);
        io::check_output(out, session.common().existing());
        const auto a = read_architecture(arch);
        const DType dtype = parse_store_dtype(store_dtype).value_or(DType::f32);
        const auto parameters = model::parameters(a);
        ModelWriter writer(out, session.world().handle(), a, std::vector<DType>(parameters.size(), dtype),
                           session.common().existing());
        Progress progress(session, "init", static_cast<double>(model::parameter_count(a)), "weights");
        Context& ctx = session.context();
        double done = 0;
        for (const auto& p : parameters) {
            const Range mine = comm::my_rows(session.world(), p.shape[0]);
            for_each_row_block(p.shape, mine, row_elements(p.shape) * 4, [&](const Box& box) {
                Tensor block = ctx.empty(box.count, DType::f32);
                initialise(a, p, static_cast<uint64_t>(session.common().seed), box.offset[0], block,
                           ctx.threads());
                Tensor stored = block;
                if (dtype != DType::f32) {
                    stored = ctx.empty(box.count, dtype);
                    convert(ctx, block, stored);
                }
                writer.write(p, box, stored);
            });
            done += static_cast<double>(p.size());
            progress.show(done, p.name);
        }
        writer.publish({{"source", {{"random", true}, {"seed", session.common().seed}}},
                        {"jobs", {history_step(session)}}});
        session.results["parameters"] = model::parameter_count(a);
        session.results["architecture"] = model::to_json(a);
        session.log().result("{}: {} random parameters", out, model::parameter_count(a));
        return exit_code::done;
    });
}

}  // namespace espalier::jobs
