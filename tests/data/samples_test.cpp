// Expected values: Megatron's order written again in numpy and compared with megatron-core 0.16.1 sample by
// sample. A token's value is its place in the file, so the first token of a sample says where it was cut.
#include "src/data/samples.hpp"

#include <gmock/gmock.h>

#include "src/core/error.hpp"
#include "src/data/split.hpp"
#include "tests/data/counting.hpp"

namespace espalier::data {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::ThrowsMessage;
using Ids = std::vector<int32_t>;

std::shared_ptr<const Documents> mixed() {
    return std::make_shared<Counting>(std::vector<int32_t>{5, 1, 0, 17, 3, 9, 0, 2, 30, 4, 8});
}
std::shared_ptr<const Documents> tiny() {
    return std::make_shared<Counting>(std::vector<int32_t>{1, 2, 1, 3, 0, 2, 1, 1, 2, 3, 2});
}
std::shared_ptr<const Documents> one_long() {
    return std::make_shared<Counting>(std::vector<int32_t>{6, 6, 40, 1, 1}, 100);
}
std::shared_ptr<const Documents> shorter_than_a_sample() {
    return std::make_shared<Counting>(std::vector<int32_t>{3, 0, 2}, 300);
}
std::shared_ptr<const Documents> another() {
    return std::make_shared<Counting>(std::vector<int32_t>{25, 3, 3, 0, 9}, 200);
}

Ids first_tokens(const Samples& samples) {
    Ids first, sample(static_cast<size_t>(samples.seq_len()) + 1);
    for (int64_t i = 0; i < samples.count(); ++i) {
        samples.read(i, sample);
        first.push_back(sample[0]);
    }
    return first;
}

/// Of every token and its place: sum of place x token, places from 1.
uint64_t fingerprint(const Samples& samples) {
    uint64_t sum = 0, place = 0;
    Ids sample(static_cast<size_t>(samples.seq_len()) + 1);
    for (int64_t i = 0; i < samples.count(); ++i) {
        samples.read(i, sample);
        for (const int32_t token : sample) sum += ++place * static_cast<uint64_t>(token);
    }
    return sum;
}

struct Case {
    std::string name;
    std::vector<Source> sources;
    int64_t count, seq_len;
    uint32_t seed;
    Ids first;
    uint64_t fingerprint;
};

class SampleOrders : public testing::TestWithParam<Case> {};

TEST_P(SampleOrders, AreMegatrons) {
    const Case& c = GetParam();

    const Samples samples(c.sources, c.count, c.seq_len, c.seed);

    EXPECT_EQ(first_tokens(samples), c.first);
    EXPECT_EQ(fingerprint(samples), c.fingerprint);
}

std::vector<Case> cases() {
    return {
        {"one_epoch_seed_1", {{mixed()}}, 9, 8, 1, {53, 37, 5, 6, 61, 71, 22, 14, 45}, 132325},
        {"separate_last_epoch_seed_1",
         {{mixed()}},
         21,
         8,
         1,
         {60, 53, 44, 28, 78, 7, 11, 15, 19, 0, 61, 70, 74, 52, 4, 37, 45, 35, 35, 51, 4},
         722818},
        {"last_epoch_among_the_others_seed_1",
         {{mixed()}},
         28,
         8,
         1,
         {35, 64, 76, 22, 4,  18, 77, 39, 10, 48, 31, 52, 55, 34,
          47, 60, 7,  44, 15, 30, 67, 56, 75, 40, 26, 23, 6,  14},
         1177090},
        {"five_epochs_seed_1",
         {{mixed()}},
         40,
         8,
         1,
         {51, 73, 14, 43, 69, 35, 59, 9, 23, 65, 7,  59, 17, 57, 15, 26, 75, 72, 60, 0,
          34, 44, 49, 11, 41, 27, 51, 1, 19, 22, 34, 27, 52, 6,  5,  68, 73, 26, 43, 68},
         2609246},
        {"documents_shorter_than_a_sample_seed_1", {{tiny()}}, 5, 7, 1, {16, 11, 10, 3, 15}, 6286},
        {"blend_of_two_seed_1",
         {{mixed(), 0.3}, {one_long(), 0.7}},
         20,
         8,
         1,
         {107, 53, 136, 139, 37, 115, 112, 5, 100, 120, 6, 123, 131, 147, 61, 128, 153, 71, 144, 119},
         1708173},
        {"blend_of_one_seed_1", {{mixed(), 1}}, 9, 8, 1, {53, 5, 37, 61, 6, 45, 14, 71, 22}, 135628},
        {"blend_of_three_seed_1",
         {{mixed(), 1}, {one_long(), 2}, {another(), 4}},
         24,
         8,
         1,
         {232, 128, 53, 215, 237, 136, 201, 37,  228, 144, 202, 230,
          120, 218, 5,  210, 106, 209, 207, 112, 231, 6,   239, 148},
         3709396},
        {"blend_with_a_file_shorter_than_a_sample_seed_1",
         {{mixed(), 0.8}, {shorter_than_a_sample(), 0.2}},
         20,
         8,
         1,
         {61, 302, 53, 7, 74, 60, 303, 78, 11, 44, 4, 302, 0, 19, 52, 15, 301, 37, 35, 45},
         1417469},
        {"training_part_of_a_split_seed_1",
         part_of({{mixed()}}, Split("60,30,10"), Part::train),
         9,
         8,
         1,
         {6, 31, 14, 8, 4, 22, 24, 16, 29},
         65836},
        {"blend_of_training_parts_seed_1",
         part_of({{mixed(), 0.3}, {one_long(), 0.7}}, Split("60,30,10"), Part::train),
         12,
         8,
         1,
         {136, 21, 112, 104, 13, 128, 108, 5, 128, 144, 25, 120},
         519437},
        {"one_epoch_seed_1234", {{mixed()}}, 9, 8, 1234, {29, 61, 77, 45, 69, 8, 37, 53, 35}, 136269},
        {"separate_last_epoch_seed_1234",
         {{mixed()}},
         21,
         8,
         1234,
         {39, 63, 35, 25, 55, 75, 29, 47, 35, 71, 67, 56, 12, 15, 48, 20, 30, 40, 7, 27, 47},
         671329},
        {"last_epoch_among_the_others_seed_1234",
         {{mixed()}},
         28,
         8,
         1234,
         {54, 47, 4,  10, 23, 29, 8,  1,  52, 63, 35, 55, 26, 72,
          38, 33, 25, 16, 18, 13, 60, 71, 21, 46, 36, 77, 44, 34},
         1245422},
        {"five_epochs_seed_1234",
         {{mixed()}},
         40,
         8,
         1234,
         {65, 21, 35, 8,  29, 5,  46, 36, 32, 73, 16, 13, 55, 39, 47, 62, 38, 54, 0,  52,
          60, 7,  5,  28, 24, 44, 72, 49, 19, 11, 1,  75, 33, 57, 73, 15, 4,  41, 70, 70},
         2443482},
        {"documents_shorter_than_a_sample_seed_1234", {{tiny()}}, 5, 7, 1234, {15, 2, 4, 10, 12}, 6659},
        {"blend_of_two_seed_1234",
         {{mixed(), 0.3}, {one_long(), 0.7}},
         20,
         8,
         1234,
         {128, 29, 101, 128, 61, 136, 120, 77, 144, 112, 45, 144, 112, 136, 69, 120, 153, 8, 101, 148},
         1644424},
        {"blend_of_one_seed_1234", {{mixed(), 1}}, 9, 8, 1234, {29, 45, 35, 77, 8, 69, 61, 37, 53}, 155718},
        {"blend_of_three_seed_1234",
         {{mixed(), 1}, {one_long(), 2}, {another(), 4}},
         24,
         8,
         1234,
         {213, 153, 29, 232, 205, 131, 236, 61,  221, 123, 237, 213,
          115, 221, 77, 205, 139, 226, 212, 107, 228, 45,  204, 113},
         3770284},
        {"blend_with_a_file_shorter_than_a_sample_seed_1234",
         {{mixed(), 0.8}, {shorter_than_a_sample(), 0.2}},
         20,
         8,
         1234,
         {55, 300, 56, 71, 12, 29, 303, 48, 67, 7, 63, 300, 35, 47, 30, 35, 304, 39, 20, 25},
         1326761},
        {"training_part_of_a_split_seed_1234",
         part_of({{mixed()}}, Split("60,30,10"), Part::train),
         9,
         8,
         1234,
         {5, 30, 24, 21, 9, 13, 34, 26, 17},
         61083},
        {"blend_of_training_parts_seed_1234",
         part_of({{mixed(), 0.3}, {one_long(), 0.7}}, Split("60,30,10"), Part::train),
         12,
         8,
         1234,
         {146, 25, 136, 106, 12, 102, 144, 33, 130, 112, 5, 128},
         523068},
    };
}

INSTANTIATE_TEST_SUITE_P(, SampleOrders, testing::ValuesIn(cases()),
                         [](const auto& test) { return test.param.name; });

// The second normalisation of Megatron's builder and blend changes the last bit of these weights, and so the
// third sample.
TEST(Samples, OfABlendFollowWeightsNormalisedTwice) {
    std::vector<Source> sources;
    for (const double weight : {0.5, 1.8, 0.4, 0.1}) {
        const auto base = static_cast<int32_t>(1000 * sources.size());
        sources.push_back({std::make_shared<Counting>(std::vector<int32_t>{200}, base), weight});
    }

    const Ids first = first_tokens(Samples(std::move(sources), 8, 4, 1));

    Ids source;
    for (const int32_t token : first) source.push_back(token / 1000);
    EXPECT_THAT(source, ElementsAre(1, 0, 2, 1, 1, 1, 3, 1));
}

TEST(Samples, OverlapByTheirLastToken) {
    const auto stream = std::make_shared<Counting>(std::vector<int32_t>{17});
    const Samples samples({{stream}}, 2, 8, 1);
    Ids a(9), b(9);

    samples.read(0, a);
    samples.read(1, b);

    if (a[0] > b[0]) std::swap(a, b);
    EXPECT_THAT(a, ElementsAre(0, 1, 2, 3, 4, 5, 6, 7, 8));
    EXPECT_THAT(b, ElementsAre(8, 9, 10, 11, 12, 13, 14, 15, 16));
}

TEST(Samples, RefuseDataThatDoNotMakeOneSample) {
    const auto of = [](std::vector<int32_t> lengths, const char* name, std::optional<double> weight = {}) {
        return Source{std::make_shared<Counting>(std::move(lengths)), weight, name};
    };
    const auto refusal = [](const char* text) { return ThrowsMessage<UserError>(HasSubstr(text)); };

    EXPECT_THAT(
        [&] {
            Samples({of({5, 3}, "a")}, 1, 8, 1);
        },
        refusal("a: 8 tokens in 2 documents, fewer than the 9 of one sample"));
    EXPECT_NO_THROW(Samples({of({5, 3}, "a")}, 1, 7, 1));
    EXPECT_THAT(
        [&] {
            Samples({of({5, 3}, "a", 2), of({4}, "b", 1)}, 4, 12, 1);
        },
        refusal("a and 1 more: 12 tokens in 3 documents, fewer than the 13 of one sample"));
    EXPECT_NO_THROW(Samples({of({5, 3}, "a", 2), of({5}, "b", 1)}, 4, 12, 1));
}

TEST(Samples, RefuseASourceWithoutTokens) {
    for (const auto& lengths : {std::vector<int32_t>{}, std::vector<int32_t>{0, 0}}) {
        const Source empty{std::make_shared<Counting>(lengths), 1.0, "empty"};
        EXPECT_THAT(
            [&] {
                Samples({{mixed(), 1.0}, empty}, 4, 8, 1);
            },
            ThrowsMessage<UserError>(HasSubstr("empty has no tokens")));
    }
}

TEST(Samples, RefuseWeightsThatAreNotPositive) {
    using Weight = std::optional<double>;
    for (const auto weight :
         {Weight(0.0), Weight(-1.0), Weight(std::numeric_limits<double>::quiet_NaN()), Weight()}) {
        EXPECT_THAT(
            [&] {
                Samples({{mixed(), 1.0}, {one_long(), weight}}, 4, 8, 1);
            },
            ThrowsMessage<UserError>(HasSubstr("weight")));
    }
}

// mixed() has 79 tokens, shorter_than_a_sample() 5.
TEST(Samples, KnowWhichSourceTheyRepeatMost) {
    const Samples of_one({{mixed(), std::nullopt, "a"}}, 20, 8, 1);
    EXPECT_EQ(of_one.most_used(20).source, "a");
    EXPECT_EQ(of_one.most_used(20).samples, 20);
    EXPECT_EQ(of_one.most_used(20).epochs, 20 * 8 / 79.0);
    EXPECT_EQ(of_one.most_used(0).epochs, 0);

    // A fifth of 20 samples are 4 of b, the first of them the second of all.
    const Samples blend({{mixed(), 0.8, "a"}, {shorter_than_a_sample(), 0.2, "b"}}, 20, 8, 1);
    EXPECT_EQ(blend.most_used(20).source, "b");
    EXPECT_EQ(blend.most_used(20).samples, 4);
    EXPECT_EQ(blend.most_used(20).epochs, 4 * 8 / 5.0);
    EXPECT_EQ(blend.most_used(1).source, "a");
}

/// A second's work; what took a step for each pair of documents or samples would not end before the watchdog.
TEST(Samples, CanBeTenMillionOfAMillionDocuments) {
    std::vector<int32_t> lengths(1'000'000);
    for (size_t i = 0; i < lengths.size(); ++i) lengths[i] = static_cast<int32_t>(i % 257);
    const auto documents = std::make_shared<Counting>(std::move(lengths));

    const Samples samples({{documents, 0.9}, {documents, 0.1}}, 10'000'000, 64, 1234);

    EXPECT_EQ(samples.most_used(10'000'000).samples, 9'000'000);
}

}  // namespace
}  // namespace espalier::data
