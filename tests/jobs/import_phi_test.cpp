// A GGUF file that holds several weights in one tensor.
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "tests/io/weight_files.hpp"
#include "tests/jobs/program.hpp"

namespace espalier::test {
namespace {

constexpr uint32_t f32_value = 6, text_value = 8, u32_value = 4;
constexpr uint64_t hidden = 8, ffn = 8, vocab = 266;

std::string number(const std::string& key, uint32_t value) {
    return gguf_value(key, u32_value, raw(value));
}

enum class QkvTensors { apart, fused };

/// A Phi of one layer whose queries, keys and values are three tensors or one.
std::string phi_gguf(QkvTensors qkv) {
    GgufFileSpec spec;
    spec.metadata = {gguf_value("general.architecture", text_value, gguf_text("phi2")),
                     number("phi2.embedding_length", hidden),
                     number("phi2.block_count", 1),
                     number("phi2.attention.head_count", 4),
                     number("phi2.attention.head_count_kv", 2),
                     number("phi2.rope.dimension_count", 2),
                     number("phi2.feed_forward_length", ffn),
                     number("phi2.context_length", 64),
                     gguf_value("phi2.attention.layer_norm_epsilon", f32_value, raw(1e-5F))};
    float next = 0;  // no two weights are alike
    const auto values = [&](uint64_t count) {
        std::vector<float> out(count);
        for (float& v : out) v = next++;
        return raw(out);
    };
    const auto add = [&](const std::string& name, const std::vector<uint64_t>& dimensions, std::string data) {
        spec.tensors.push_back({.name = name, .dimensions = dimensions, .data = std::move(data)});
    };
    const auto linear = [&](const std::string& name, uint64_t in, uint64_t out) {
        add(name + ".weight", {in, out}, values(in * out));
        add(name + ".bias", {out}, values(out));
    };
    add("token_embd.weight", {hidden, vocab}, values(hidden * vocab));
    linear("output", hidden, vocab);
    for (const char* norm : {"output_norm", "blk.0.attn_norm"}) {
        for (const char* end : {".weight", ".bias"}) add(std::string(norm) + end, {hidden}, values(hidden));
    }
    constexpr uint64_t heads = 8, kv = 4;
    for (const auto& [end, in] : {std::pair{".weight", hidden}, {".bias", uint64_t{1}}}) {
        std::string whole;
        for (const auto& [name, rows] : {std::pair{"q", heads}, {"k", kv}, {"v", kv}}) {
            const std::string part = values(in * rows);
            whole += part;
            const std::vector<uint64_t> matrix{in, rows}, vector{rows};
            if (qkv == QkvTensors::apart)
                add(std::string("blk.0.attn_") + name + end, in == 1 ? vector : matrix, part);
        }
        const std::vector<uint64_t> matrix{in, heads + 2 * kv}, vector{heads + 2 * kv};
        if (qkv == QkvTensors::fused)
            add(std::string("blk.0.attn_qkv") + end, in == 1 ? vector : matrix, whole);
    }
    linear("blk.0.attn_output", heads, hidden);
    linear("blk.0.ffn_up", hidden, ffn);
    linear("blk.0.ffn_down", ffn, hidden);
    return gguf_bytes(spec);
}

TEST(ImportPhi, FindsQueriesKeysAndValuesInOneTensorToo) {
    const TinyWorld world;
    const auto content = [&](QkvTensors qkv) {
        world.write("phi.gguf", phi_gguf(qkv));
        const auto imported = espalier(
            {"import", "--from", world.path("phi.gguf"), "--out", world.path("m.h5"), "--quiet", "--force"});
        EXPECT_EQ(imported.exit_code, 0) << imported.err;
        const auto inspected = espalier({"inspect", world.path("m.h5"), "--json"});
        EXPECT_EQ(inspected.exit_code, 0) << inspected.err;
        return nlohmann::json::parse(inspected.out).at("content_sha256");
    };

    EXPECT_EQ(content(QkvTensors::fused), content(QkvTensors::apart));
}

TEST(ImportPhi, NamesThatAreNotUtf8AreShownAllTheSame) {
    const TinyWorld world;
    std::string file = phi_gguf(QkvTensors::apart);
    const std::string name = "ffn_up.bias";
    file.replace(file.find(name), name.size(), "ffn_\xe9p.bias");
    world.write("odd.gguf", file);

    const auto result = espalier({"inspect", world.path("odd.gguf"), "--json"});

    EXPECT_EQ(result.exit_code, 0) << result.err;
    EXPECT_NE(result.out.find("ffn_\xef\xbf\xbdp.bias"), std::string::npos) << result.out;
}

}  // namespace
}  // namespace espalier::test
