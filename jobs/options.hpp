// The options of a job: declared once, given on the command line or in a file, echoed resolved.
#pragma once

#include <boost/program_options.hpp>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

namespace espalier::jobs {

namespace po = boost::program_options;

/// What every job understands.
struct CommonOptions {
    std::string device = "auto";
    bool share_device = false;
    std::string dtype;  ///< "" stands for bf16 where the processor has it, else f32
    int tp = 1;
    int pp = 1;
    int virtual_stages = 1;
    int threads = 0;  ///< 0: the node's cores / the node's ranks
    int64_t seed = 1234;
    bool quiet = false;
    std::string log_level = "info";
    bool force = false;
    std::string summary;
};

class Options {
public:
    /// `positional` is the option that words without dashes go to, all of them; empty: none are allowed.
    Options(std::string job, CommonOptions& common, std::string positional = "");

    /// For the job to declare its own: `options.add()("model", po::value(&o.model)->required(), "text")`.
    po::options_description_easy_init add() { return own_.add_options(); }

    /// Values of arguments first, then of --config FILE, then defaults. An unknown option, a missing required
    /// one or a bad value throws UserError that names it. False where the arguments ask for --help or
    /// --dump-config, which rank 0 prints, instead of the job.
    bool parse(const std::vector<std::string>& arguments, bool root);

    std::string help() const;
    /// Every option with its value, as JSON, and as `key = value` lines that --config reads back.
    nlohmann::ordered_json resolved() const;
    std::string config() const;
    bool given(const std::string& name) const;  ///< by the user, not by default

private:
    void read_config_file(const std::string& path, const po::options_description& all);

    std::string job_, positional_;
    po::options_description common_{"Common options"}, own_{"Options"};
    po::variables_map values_;
    std::string config_file_;
};

}  // namespace espalier::jobs
