// The options of a job: declared once, given on the command line or in a file, echoed resolved.
#pragma once

#include <fmt/core.h>

#include <boost/program_options.hpp>
#include <functional>
#include <initializer_list>
#include <nlohmann/json.hpp>
#include <set>
#include <string>
#include <string_view>
#include <type_traits>
#include <vector>

#include "io/publish.hpp"

namespace espalier::jobs {

namespace po = boost::program_options;

/// What every job understands.
struct CommonOptions {
    std::string device = "auto";
    bool share_device = false;
    std::string dtype;  ///< "" stands for bf16 where the CPU or GPU has it, else f32
    int tp = 1;
    int pp = 1;
    int virtual_stages = 1;
    int threads = 0;  ///< 0: comm::cores_of_rank
    int64_t seed = 1234;
    bool quiet = false;
    std::string log_level = "info";
    bool force = false;
    std::string summary;

    io::Existing existing() const { return force ? io::Existing::replace : io::Existing::keep; }
};

/// Words without dashes: the option that all of them go to, and what the usage calls them. Empty: none are
/// allowed.
struct Positional {
    std::string option, words;
};

/// Throws UserError unless --micro-batch is a number of samples that can be counted on from any sample.
void check_micro_batch(int64_t samples);

class Options {
public:
    Options(std::string job, CommonOptions& common, Positional positional = {});

    /// The job's own: what `value` holds is its default. A list takes all words that follow, a bool is a
    /// switch.
    template <class T>
    void add(const char* name, T& value, const char* help) {
        add_to(own_, name, value, help);
    }
    template <class T>
    void required(const char* name, T& value, const char* help) {
        own_.add_options()(name, typed(value)->required(), help);
    }
    /// One without a default, for given().
    template <class T>
    void optional(const char* name, T& value, const char* help) {
        own_.add_options()(name, typed(value), help);
    }

    /// Defaults of these leave a choice open: unless they are given they are not among the resolved options.
    void leave_open(std::initializer_list<std::string> names) { open_ = names; }

    /// Values of arguments first, then of --config FILE, then defaults. An unknown option, a missing required
    /// one or a bad value throws UserError that names it. False where the arguments ask for --help or
    /// --dump-config, which rank 0 prints, instead of the job.
    bool parse(const std::vector<std::string>& arguments, bool root);

    std::string help() const;
    /// Every option with its value, as JSON, and as config_text.
    nlohmann::ordered_json resolved() const;
    std::string config() const;
    bool given(const std::string& name) const;  ///< by the user, not by default
    /// Throws UserError where one of these was given another value than its default, though nothing would
    /// come of it: "--NAME: WHY".
    void refuse_given(std::initializer_list<const char*> names, std::string_view why) const;

private:
    template <class T>
    static po::typed_value<T>* typed(T& value) {
        if constexpr (std::is_same_v<T, bool>) return po::bool_switch(&value);
        if constexpr (std::is_same_v<T, std::vector<std::string>>) return po::value(&value)->multitoken();
        return po::value(&value);
    }
    template <class T>
    static void add_to(po::options_description& group, const char* name, T& value, const char* help) {
        po::typed_value<T>* semantic = typed(value);
        if constexpr (std::is_arithmetic_v<T> && !std::is_same_v<T, bool>)
            semantic->default_value(value, fmt::format("{}", value));
        if constexpr (std::is_same_v<T, std::string>) semantic->default_value(value);
        group.add_options()(name, semantic, help);
    }
    void read_config_file(const std::string& path, const po::options_description& all);
    void check_empty(const po::options_description& all) const;

    std::string job_;
    Positional positional_;
    po::options_description own_{"Options"};
    po::options_description common_{
        "Common options (every job takes them; device, dtype and layout matter where a model runs)"};
    po::variables_map values_;
    std::string config_file_;
    std::set<std::string> open_;
};

/// Resolved options without those that say where and how a job runs, which change nothing of what it
/// computes (layout, device, messages, places), and without `others`.
nlohmann::ordered_json without_placement(nlohmann::ordered_json resolved,
                                         std::initializer_list<const char*> others);

/// Calls visit(option, word) for each text among the values of Options::resolved().
void for_each_word(const nlohmann::ordered_json& resolved,
                   const std::function<void(const std::string&, const std::string&)>& visit);

/// Resolved options as a section [job] of `key = value` lines, which --config reads back.
std::string config_text(const std::string& job, const nlohmann::ordered_json& resolved);

}  // namespace espalier::jobs
