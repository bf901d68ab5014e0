#include "jobs/session/options.hpp"

#include <algorithm>
#include <sstream>

#include "jobs/job.hpp"
#include "jobs/session/config_file.hpp"
#include "jobs/session/standard_output.hpp"
#include "src/core/error.hpp"

namespace espalier::jobs {
namespace {

nlohmann::ordered_json to_json(const boost::any& value) {
    if (const auto* v = boost::any_cast<std::string>(&value)) return *v;
    if (const auto* v = boost::any_cast<int64_t>(&value)) return *v;
    if (const auto* v = boost::any_cast<int>(&value)) return *v;
    if (const auto* v = boost::any_cast<double>(&value)) return *v;
    if (const auto* v = boost::any_cast<bool>(&value)) return *v;
    if (const auto* v = boost::any_cast<std::vector<std::string>>(&value)) return *v;
    throw InternalError("an option of a type that has no JSON");
}

bool is_utf8(const std::string& text) {
    try {
        static_cast<void>(nlohmann::json(text).dump());
        return true;
    } catch (const nlohmann::json::type_error&) {
        return false;
    }
}

/// With \xHH for what is no printable ASCII.
std::string escaped(const std::string& text) {
    std::string out;
    for (const char c : text)
        out += c >= ' ' && c <= '~' ? std::string(1, c)
                                    : fmt::format("\\x{:02x}", static_cast<unsigned char>(c));
    return out;
}

/// What only a command line can ask for.
bool is_request(const std::string& option) {
    return option == "help" || option == "version" || option == "config" || option == "dump-config";
}

void print(const std::string& text) {
    print_text(text);
    finish_printing();
}

std::string text_of(const nlohmann::ordered_json& value) {
    if (value.is_string()) return as_setting(value.get<std::string>());
    // JSON has no infinity, which some options take.
    if (value.is_number_float()) return fmt::format("{}", value.get<double>());
    return value.dump();
}

/// Of a word of the command line; nullptr: it names none.
const po::option_description* option_of(const std::string& word, const po::options_description& all) {
    return word.starts_with("--") ? all.find_nothrow(word.substr(2), false) : nullptr;
}

/// Boost would take the option that follows for the value.
void expect_values(const std::vector<std::string>& arguments, const po::options_description& all,
                   const std::string& job) {
    for (size_t i = 0; i + 1 < arguments.size(); ++i) {
        const auto* option = option_of(arguments[i], all);
        ESPALIER_REQUIRE(
            !option || option->semantic()->min_tokens() == 0 || !option_of(arguments[i + 1], all),
            "{} has no value: {} follows; see `espalier {} --help`", arguments[i], arguments[i + 1], job);
    }
}

}  // namespace

Options::Options(std::string job, CommonOptions& common, Positional positional)
    : job_(std::move(job)), positional_(std::move(positional)) {
    common_.add_options()("help", "what this job does and its options");
    common_.add_options()("version", "print the program's version");
    common_.add_options()("config", po::value(&config_file_),
                          "FILE of key = value lines, with a section [job] for each job");
    common_.add_options()("dump-config", po::bool_switch(),
                          "print the resolved options as such a file, and exit");
    const auto add = [&](const char* name, auto& value, const char* help) {
        add_to(common_, name, value, help);
    };
    add("device", common.device,
        "auto, cpu or cuda; auto: a GPU for each rank if there are as many, else the CPU");
    add("share-device", common.share_device, "allow several ranks on one GPU");
    add("dtype", common.dtype, "compute type, f32 or bf16 (default: bf16 if the CPU or GPU has it)");
    add("tp", common.tp, "tensor parallel ranks");
    add("pp", common.pp, "pipeline parallel ranks; the ranks left over are data parallel");
    add("virtual-stages", common.virtual_stages, "virtual stages of each pipeline rank");
    add("threads", common.threads, "threads of each rank; 0: as many as cores are its own");
    add("seed", common.seed, "for sample order and random weights");
    add("quiet", common.quiet, "no progress, no log, only warnings and errors");
    add("log-level", common.log_level, "debug, info, warning or error: the least serious messages to show");
    add("force", common.force, "replace outputs that exist");
    add("summary", common.summary, "FILE.json for results and facts of the run");
}

bool Options::parse(const std::vector<std::string>& arguments, bool root) {
    for (const auto& argument : arguments)
        ESPALIER_REQUIRE(is_utf8(argument), "\"{}\" is not UTF-8, the encoding in which files keep options",
                         escaped(argument));
    po::options_description all;
    all.add(own_).add(common_);
    expect_values(arguments, all, job_);
    po::positional_options_description positional;
    if (!positional_.option.empty()) positional.add(positional_.option.c_str(), -1);
    try {
        const auto style = po::command_line_style::unix_style & ~po::command_line_style::allow_guessing;
        po::store(po::command_line_parser(arguments).options(all).positional(positional).style(style).run(),
                  values_);
        if (values_.count("help")) {
            if (root) print(help());
            return false;
        }
        if (values_.count("version")) {
            if (root) print("espalier " ESPALIER_VERSION "\n");
            return false;
        }
        if (values_.count("config")) read_config_file(values_["config"].as<std::string>(), all);
        check_empty(all);
        po::notify(values_);
    } catch (const po::required_option& e) {
        fail("missing option {}; see `espalier {} --help`", e.get_option_name(), job_);
    } catch (const po::error& e) {
        fail("{}; see `espalier {} --help`", e.what(), job_);
    }
    if (!values_["dump-config"].as<bool>()) return true;
    if (root) print(config());
    return false;
}

void Options::read_config_file(const std::string& path, const po::options_description& all) {
    po::parsed_options parsed(&all);
    for (const Setting& s : read_settings(path, job_)) {
        ESPALIER_REQUIRE(!is_request(s.key), "{}: {} is for the command line; leave it out here", s.where,
                         s.key);
        const auto* option = all.find_nothrow(s.key, false);
        ESPALIER_REQUIRE(option, "{}: unrecognised option '{}'; see `espalier {} --help`", s.where, s.key,
                         job_);
        const unsigned most = option->semantic()->max_tokens();
        const auto values = most > 1 ? words_of(s) : std::vector{value_of(s)};
        ESPALIER_REQUIRE(!values.empty() && (most == 1 || !s.text.empty()), "{}: {} has no value", s.where,
                         s.key);
        for (const auto& value : values)
            ESPALIER_REQUIRE(is_utf8(value), "{}: {} is not UTF-8, the encoding in which files keep options",
                             s.where, s.key);
        parsed.options.emplace_back(s.key, values);
    }
    try {
        po::store(parsed, values_);
    } catch (const po::error& e) {
        fail("{}: {}; see `espalier {} --help`", path, e.what(), job_);
    }
}

/// An option is left open by an empty value only where that is its default.
void Options::check_empty(const po::options_description& all) const {
    for (const auto& option : all.options()) {
        boost::any otherwise;
        if (!given(option->long_name()) || !option->semantic()->apply_default(otherwise)) continue;
        const auto* value = boost::any_cast<std::string>(&values_[option->long_name()].value());
        ESPALIER_REQUIRE(!value || !value->empty() || boost::any_cast<std::string>(otherwise).empty(),
                         "--{} is empty; leave it out for \"{}\"", option->long_name(),
                         boost::any_cast<std::string>(otherwise));
    }
}

void check_micro_batch(int64_t samples) {
    constexpr int64_t most = int64_t{1} << 24;
    ESPALIER_REQUIRE(samples >= 1 && samples <= most, "--micro-batch {}: choose between 1 and {}", samples,
                     most);
}

std::string Options::help() const {
    std::ostringstream out;
    const Job* job = find_job(job_);
    out << "espalier " << job_ << ": " << job->summary << "\n\nusage: espalier " << job_ << " [options]";
    if (!positional_.words.empty()) out << " " << positional_.words;
    out << "\n\n" << own_ << "\n" << common_;
    return out.str();
}

nlohmann::ordered_json Options::resolved() const {
    nlohmann::ordered_json out;
    for (const auto* group : {&own_, &common_}) {
        for (const auto& option : group->options()) {
            const std::string& name = option->long_name();
            const auto it = values_.find(name);
            if (is_request(name) || it == values_.end()) continue;
            if (it->second.defaulted() && open_.count(name)) continue;
            out[name] = to_json(it->second.value());
        }
    }
    return out;
}

std::string Options::config() const {
    return config_text(job_, resolved());
}

std::string config_text(const std::string& job, const nlohmann::ordered_json& resolved) {
    std::string out = "[" + job + "]\n";
    for (const auto& [key, value] : resolved.items()) {
        if (value.is_string() && value.get_ref<const std::string&>().empty())
            continue;  // the default, see check_empty
        for (const auto& word : value.is_array() ? value : nlohmann::ordered_json::array({value}))
            out += fmt::format("{} = {}\n", key, text_of(word));
    }
    return out;
}

nlohmann::ordered_json without_placement(nlohmann::ordered_json resolved,
                                         std::initializer_list<const char*> others) {
    for (const char* key : {"tp", "pp", "virtual-stages", "threads", "device", "share-device", "quiet",
                            "log-level", "force", "summary", "out"})
        resolved.erase(key);
    for (const char* key : others) resolved.erase(key);
    return resolved;
}

void for_each_word(const nlohmann::ordered_json& resolved,
                   const std::function<void(const std::string&, const std::string&)>& visit) {
    for (const auto& [option, value] : resolved.items()) {
        for (const auto& word : value.is_array() ? value : nlohmann::ordered_json::array({value})) {
            if (word.is_string()) visit(option, word.get<std::string>());
        }
    }
}

void Options::refuse_given(std::initializer_list<const char*> names, std::string_view why) const {
    for (const char* name : names) {
        boost::any otherwise;
        const auto* option = own_.find_nothrow(name, false);
        const bool has_default = option && option->semantic()->apply_default(otherwise);
        // A file that --dump-config made has them all.
        const bool changes =
            given(name) && !(has_default && to_json(values_[name].value()) == to_json(otherwise));
        ESPALIER_REQUIRE(!changes, "--{}: {}", name, why);
    }
}

bool Options::given(const std::string& name) const {
    const auto it = values_.find(name);
    return it != values_.end() && !it->second.defaulted();
}

}  // namespace espalier::jobs
