// Folders of Hugging Face files, as a user asks for them.
#include <gtest/gtest.h>

#include <filesystem>
#include <nlohmann/json.hpp>
#include <set>

#include "tests/jobs/outcome.hpp"
#include "tests/jobs/program.hpp"

namespace espalier::test {
namespace {

using nlohmann::json;

TEST(Export, SplitsWeightsIntoFilesOfAtMostTheSizeAskedFor) {
    const TinyWorld world;
    const auto export_model = [&](const std::string& model, const std::string& out, int ranks,
                                  const std::vector<std::string>& more) {
        std::vector<std::string> words{"export", "--model",       world.path(model),
                                       "--out",  world.path(out), "--quiet"};
        words.insert(words.end(), more.begin(), more.end());
        expect_done(espalier(words, ranks));
    };

    export_model("model.h5", "split", 2, {"--shard-size", "10KB"});

    std::set<std::string> files;
    const json index = json::parse(world.read("split/model.safetensors.index.json"));
    for (const auto& file : index.at("weight_map")) files.insert(file);
    EXPECT_GT(files.size(), 10U);
    for (const auto& file : files)
        EXPECT_LE(std::filesystem::file_size(world.path("split/" + file)), 10'000U) << file;
    expect_done(
        espalier({"import", "--from", world.path("split"), "--out", world.path("back.h5"), "--quiet"}));
    export_model("model.h5", "whole", 1, {});
    export_model("back.h5", "again", 1, {});
    EXPECT_EQ(world.read("again/model.safetensors"), world.read("whole/model.safetensors"));
}

}  // namespace
}  // namespace espalier::test
