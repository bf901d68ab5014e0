// A model file that fails on one rank alone.
#include "jobs/files/model_file.hpp"

#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <iterator>

#include "io/collective.hpp"
#include "tests/model/tiny_models.hpp"
#include "tests/support/temporary_folder.hpp"

namespace espalier::jobs {
namespace {

/// Where the elements of the final norm, which only the last stage reads, begin in the file.
size_t offset_of(const std::string& path, float value) {
    std::ifstream in(path, std::ios::binary);
    const std::string bytes{std::istreambuf_iterator<char>(in), {}};
    return bytes.find(std::string(reinterpret_cast<const char*>(&value), sizeof value));
}

TEST(ReadParameters, ThrowsOnEveryRankWhatFailsOnOne) {
    const test::TemporaryFolder folder;
    CommonOptions common;
    Options options("evaluate", common);
    ASSERT_TRUE(options.parse({"--pp", "2", "--threads", "1"}, true));
    Session session("evaluate", options, common);
    Context& ctx = session.context();
    const auto a = test::tiny_llama();
    model::Transformer model(ctx, a, session.topology(), DType::f32, model::Gradients::none);
    test::randomise(model, 1);
    constexpr float final_norm = 7.0F / 3.0F;
    if (session.topology().last_stage()) {
        const auto& set = model.parameters();
        for (float& w :
             model::ParameterSet::view(set.flat(), set.find(model::Weight::final_norm)).span<float>())
            w = final_norm;
    }
    const std::string path = session.world().broadcast((folder / "m.h5").string());
    ModelWriter writer(path, session.world().handle(), a,
                       std::vector<DType>(model::parameters(a).size(), DType::f32), io::Existing::keep);
    const Range all{0, model.parameters().flat_size()};
    write_share(ctx, writer.writer(), "parameters/", model.parameters(), {model.parameters().flat(), all});
    writer.publish({});
    ModelFile file(path, session.world().handle());
    const size_t place = offset_of(path, final_norm);
    ASSERT_NE(place, std::string::npos);
    session.world().barrier();

    if (session.root()) std::filesystem::resize_file(path, place);
    session.world().barrier();

    EXPECT_THROW(read_parameters(file, {{&model, true}}, ctx), UserError);
}

/// A file's bytes become a file of an export: no name may lead elsewhere, or be another of its files.
TEST(ModelFiles, CarryNothingButATokenizersFiles) {
    const test::TemporaryFolder folder;
    const auto a = test::tiny_llama();
    const std::vector<DType> dtypes(model::parameters(a).size(), DType::f32);
    Context ctx({Device::cpu, 1});
    for (const char* name : {"tokenizer/../../outside.txt", "x/config.json", "tokenizer/model.safetensors"}) {
        const std::string path = folder / fmt::format("m{}.h5", io::rank_in(MPI_COMM_WORLD));
        ModelWriter writer(path, MPI_COMM_SELF, a, dtypes, io::Existing::replace);
        for (const auto& p : model::parameters(a))
            writer.write(p, whole(p.shape), ctx.zeros(p.shape, DType::f32));
        writer.writer().write_bytes(name, "{}");
        writer.publish({});

        EXPECT_THROW(ModelFile(path, MPI_COMM_SELF), UserError) << name;
    }
}

}  // namespace
}  // namespace espalier::jobs
