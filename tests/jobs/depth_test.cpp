// Depth: what a model loses without layers, measured and used.
#include <gtest/gtest.h>

#include <algorithm>
#include <nlohmann/json.hpp>

#include "io/tensor_file.hpp"
#include "src/core/context.hpp"
#include "tests/jobs/outcome.hpp"
#include "tests/jobs/program.hpp"

namespace espalier::test {
namespace {

using nlohmann::json;
using Strings = std::vector<std::string>;

class Depth : public testing::Test {
protected:
    Depth() {
        world_.write("questions.jsonl",
                     "{\"context\": [1, 2, 3], \"choices\": [[4], [5, 6], [7]], \"answer\": 1}\n"
                     "{\"context\": [9], \"choices\": [[8, 1], [3]], \"answer\": 0}\n"
                     "{\"context\": [20, 21], \"choices\": [[4], [50]], \"answer\": 1}\n");
    }

    json run(Strings arguments, int ranks = 1) {
        arguments.insert(arguments.end(), {"--quiet", "--force", "--summary", world_.path("s.json")});
        const auto result = espalier(arguments, ranks);
        if (result.exit_code != 0) throw std::runtime_error(result.err);
        return json::parse(world_.read("s.json"));
    }

    json importance(const std::string& out, const Strings& more, int ranks = 1) {
        Strings arguments{"importance",
                          "--model",
                          world_.path("model.h5"),
                          "--data",
                          world_.path("tokens"),
                          "--samples",
                          "4",
                          "--seq-len",
                          "16",
                          "--dtype",
                          "f32",
                          "--out",
                          world_.path(out)};
        arguments.insert(arguments.end(), more.begin(), more.end());
        return run(arguments, ranks);
    }

    json prune(const std::string& scores, const Strings& more) {
        Strings arguments{"prune",
                          "--model",
                          world_.path("model.h5"),
                          "--importance",
                          world_.path(scores),
                          "--out",
                          world_.path("cut.h5")};
        arguments.insert(arguments.end(), more.begin(), more.end());
        return run(arguments).at("kept").at("layers");
    }

    /// Loss of the model cut to these layers over the same samples.
    double loss_of_cut() {
        return run({"importance", "--model", world_.path("cut.h5"), "--data", world_.path("tokens"),
                    "--samples", "4", "--seq-len", "16", "--dtype", "f32", "--out",
                    world_.path("cut-scores.h5")})
            .at("loss");
    }

    /// A table of a file of scores.
    std::vector<double> measured(const std::string& file, const std::string& table) const {
        io::TensorFileReader reader(world_.path(file), MPI_COMM_SELF, "");
        Context ctx({});
        Tensor out = ctx.empty_on_host(reader.find(table)->shape, DType::f64);
        reader.read(table, whole(out.shape()), out);
        return {out.data<double>(), out.data<double>() + out.size()};
    }

    double accuracy_of_cut() {
        return run({"evaluate", "--model", world_.path("cut.h5"), "--requests",
                    world_.path("questions.jsonl"), "--dtype", "f32"})
            .at("accuracy");
    }

    TinyWorld world_;
};

TEST_F(Depth, ContiguousByLossDropsTheBlockWhoseCutHasTheLowestLossOnEveryLayout) {
    double lowest = 1e9;
    json best;
    for (const char* drop : {"0-1", "1-2", "2-3"}) {
        const json layers = prune("scores.h5", {"--drop-layers", drop});
        const double loss = loss_of_cut();
        if (loss < lowest) {
            lowest = loss;
            best = layers;
        }
    }
    const Strings measure{"--depth", "bi,ppl", "--depth-block", "2"};
    const Strings choose{"--layers", "2", "--depth-by", "ppl", "--contiguous"};

    for (const auto& [ranks, grid] :
         {std::pair{1, Strings{}}, {2, Strings{"--tp", "2"}}, {3, Strings{"--pp", "3"}}, {2, Strings{}}}) {
        Strings arguments = measure;
        arguments.insert(arguments.end(), grid.begin(), grid.end());
        importance("i.h5", arguments, ranks);
        EXPECT_EQ(prune("i.h5", choose), best) << ranks << " ranks";
    }
}

TEST_F(Depth, TaskAccuracyWithoutLayersIsThatOfTheCutModel) {
    const json whole = importance("i.h5", {"--depth-task", world_.path("questions.jsonl")});
    importance("split.h5", {"--depth-task", world_.path("questions.jsonl"), "--pp", "2", "--tp", "2"}, 4);
    importance("alone.h5",
               {"--depth", "none", "--depth-block", "2", "--depth-task", world_.path("questions.jsonl")});
    const double accuracy = run({"evaluate", "--model", world_.path("model.h5"), "--requests",
                                 world_.path("questions.jsonl"), "--dtype", "f32"})
                                .at("accuracy");
    EXPECT_EQ(whole.at("accuracy"), accuracy);

    const auto accuracies_without = [&](const std::vector<const char*>& drops) {
        std::vector<double> out;
        for (const char* drop : drops) {
            prune("i.h5", {"--drop-layers", drop});
            out.push_back(accuracy_of_cut());
        }
        return out;
    };
    const auto of_layers = accuracies_without({"0", "1", "2", "3"});
    EXPECT_EQ(measured("i.h5", "depth/accuracy_without"), of_layers);
    EXPECT_EQ(measured("split.h5", "depth/accuracy_without"), of_layers);
    EXPECT_EQ(measured("alone.h5", "depth/accuracy_without_blocks"),
              accuracies_without({"0-1", "1-2", "2-3"}));

    const json kept = prune("i.h5", {"--layers", "3", "--depth-by", "task"});
    EXPECT_EQ(accuracy_of_cut(), *std::max_element(of_layers.begin(), of_layers.end()));
    EXPECT_EQ(prune("split.h5", {"--layers", "3", "--depth-by", "task"}), kept);
}

TEST_F(Depth, RefusesScoresThatWereNotMeasured) {
    const auto refused = [&](const Strings& more, const std::string& says) {
        Strings arguments{"prune",
                          "--model",
                          world_.path("model.h5"),
                          "--importance",
                          world_.path("scores.h5"),
                          "--out",
                          world_.path("cut.h5")};
        arguments.insert(arguments.end(), more.begin(), more.end());
        expect_refusal(espalier(arguments), {says});
    };

    refused({"--layers", "2", "--depth-by", "ppl"}, "--depth ppl");
    refused({"--layers", "2", "--depth-by", "task"}, "--depth-task");
    refused({"--layers", "2", "--contiguous"}, "--depth-block 2");
    refused({"--layers", "2", "--depth-by", "best"}, "--depth-by best");
}

}  // namespace
}  // namespace espalier::test
