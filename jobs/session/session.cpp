#include "jobs/session/session.hpp"

#include <unistd.h>

#include <algorithm>
#include <array>
#include <filesystem>
#include <fstream>
#include <limits>
#include <thread>
#include <utility>

#include "io/collective.hpp"
#include "io/publish.hpp"
#include "jobs/job.hpp"
#include "jobs/session/device.hpp"
#include "jobs/session/libraries.hpp"
#include "kernels/matmul.hpp"
#include "src/core/error.hpp"
#include "src/core/has_cuda.hpp"
#include "src/core/random.hpp"

namespace espalier::jobs {
namespace {

std::string cpu_name() {
    std::ifstream in("/proc/cpuinfo");
    for (std::string line; std::getline(in, line);) {
        if (line.starts_with("model name")) return line.substr(line.find(':') + 2);
    }
    return "unknown";
}

/// "Open MPI v4.1.4"; other libraries have their own words, on the first of several lines.
std::string mpi_name() {
    char text[MPI_MAX_LIBRARY_VERSION_STRING] = "";
    int length = 0;
    CHECK_MPI(MPI_Get_library_version(text, &length));
    const std::string all(text, static_cast<size_t>(length));
    return all.substr(0, all.find_first_of(",\n"));
}

Log log_of(const std::string& job, const CommonOptions& common) {
    int rank = 0;
    CHECK_MPI(MPI_Comm_rank(MPI_COMM_WORLD, &rank));
    return Log({"espalier " + job, rank, log_level_from_string(common.log_level),
                common.quiet ? Quiet::yes : Quiet::no});
}

/// Where ranks may differ without meaning another run.
nlohmann::ordered_json comparable(nlohmann::ordered_json options) {
    for (const char* key : {"threads", "summary", "quiet", "log-level"}) options.erase(key);
    return options;
}

/// A summary replaces a summary, and nothing else; that it cannot be written is known before the work is
/// done.
void check_summary(const std::string& path, const std::string& job, const nlohmann::ordered_json& options) {
    if (path.empty()) return;
    const auto absolute = [](const std::string& p) {
        return std::filesystem::absolute(p).lexically_normal().string();
    };
    for_each_word(options, [&](const std::string& key, const std::string& word) {
        ESPALIER_REQUIRE(key == "summary" || word.empty() || absolute(word) != absolute(path),
                         "--summary {}: --{} is the same file", path, key);
    });
    const auto parent = std::filesystem::path(absolute(path)).parent_path();
    const bool inside_output = options.contains("out") &&
                               absolute(options["out"].get<std::string>() + "/") == (parent / "").string();
    const bool makes_folder = find_job(job)->out == io::Output::folder;
    if (inside_output && makes_folder && !std::filesystem::exists(parent)) return;
    io::check_output(path, io::Existing::replace);
    ESPALIER_REQUIRE(!std::filesystem::exists(path) || is_summary(path),
                     "--summary {}: the file exists and is no summary; choose another name", path);
    io::try_output(path);
}

/// Whether the file `out` is part of what an option names: the file itself, one of a dataset's two, or of a
/// folder one of those that make up a model there.
bool is_part_of(const std::string& word, const std::filesystem::path& out) {
    std::error_code unknown;  // whoever reads says what is wrong with the place
    for (const char* ending : {"", ".bin", ".idx"}) {
        if (std::filesystem::equivalent(word + ending, out, unknown)) return true;
    }
    constexpr std::array endings{".bin", ".gguf", ".json", ".model", ".safetensors"};
    return std::ranges::find(endings, out.extension()) != endings.end() &&
           std::filesystem::is_directory(word, unknown) &&
           std::filesystem::equivalent(word, std::filesystem::absolute(out).parent_path(), unknown);
}

/// --force is leave to replace what was made before, not what the job reads.
void check_out(const std::string& job, const nlohmann::ordered_json& options) {
    const auto name = options.value("out", std::string());
    const auto kind = find_job(job)->out;
    if (name.empty() || kind == io::Output::folder) return;
    const auto check = [&](const std::string& out, const auto& meets) {
        std::error_code unknown;
        if (!std::filesystem::is_regular_file(out, unknown)) return;
        for_each_word(options, [&](const std::string& key, const std::string& word) {
            ESPALIER_REQUIRE(key == "out" || key == "summary" || word.empty() || !meets(word, out),
                             "--out {}: --{} is the same file, or holds it; choose another name", name, key);
        });
    };
    if (kind == io::Output::file) return check(name, is_part_of);
    const auto same = [](const std::string& word, const std::string& out) {
        std::error_code unknown;
        return std::filesystem::equivalent(word, out, unknown);
    };
    for (const char* ending : {".bin", ".idx"}) check(name + ending, same);
}

constexpr const char* different_options =
    "the ranks were started with different options; start all of them with the same command line";

/// Collective; throws UserError unless all ranks say the same.
bool all_or_none(bool mine) {
    int counts[2] = {mine ? 1 : 0, mine ? 0 : 1}, all[2] = {};
    CHECK_MPI(MPI_Allreduce(counts, all, 2, MPI_INT, MPI_SUM, MPI_COMM_WORLD));
    ESPALIER_REQUIRE(all[0] == 0 || all[1] == 0, "{}", different_options);
    return mine;
}

/// A job that runs others is many sessions.
void warn_once(const Log& log, const std::string& text) {
    static bool warned = false;
    if (text.empty() || std::exchange(warned, true)) return;
    log.warning("{}", text);
}

int64_t resident_memory() {
    int64_t pages = 0, resident = 0;
    std::ifstream("/proc/self/statm") >> pages >> resident;
    return resident * sysconf(_SC_PAGESIZE);
}

}  // namespace

bool is_summary(const std::string& path) {
    const auto content = nlohmann::json::parse(io::read_file(path), nullptr, false);
    return content.is_object() && content.contains("job");
}

int64_t peak_memory() {
    // getrusage's begins with what the program held that started this one.
    std::ifstream status("/proc/self/status");
    for (std::string word; status >> word;) {
        int64_t kibibytes = 0;
        if (word == "VmHWM:" && status >> kibibytes) return 1024 * kibibytes;
    }
    return resident_memory();
}

Session::Session(std::string job, const Options& options, const CommonOptions& common)
    : job_(std::move(job)), common_(common), resolved_(options.resolved()), log_(log_of(job_, common)) {
    check_device(common, job_);
    const int most_threads = 16 * std::max(1, static_cast<int>(std::thread::hardware_concurrency()));
    ESPALIER_REQUIRE(common.threads >= 0 && common.threads <= most_threads,
                     "--threads {}: choose 1 to {} (16 for each core here), or 0 for the cores that "
                     "are this rank's",
                     common.threads, most_threads);
    ESPALIER_REQUIRE(common.seed >= 0 && common.seed <= std::numeric_limits<uint32_t>::max(),
                     "--seed {}: choose one from 0 to {}", common.seed, std::numeric_limits<uint32_t>::max());
    const Job& kind = *find_job(job_);
    ESPALIER_REQUIRE(common.virtual_stages >= 1, "--virtual-stages {}: it must be at least 1",
                     common.virtual_stages);
    // One file of options may serve all jobs; where nothing trains, virtual stages would only send more.
    const int virtual_stages = kind.trains() ? common.virtual_stages : 1;
    const bool may_train = kind.trains() || kind.computes == Computes::by_other_jobs;
    ESPALIER_REQUIRE(!may_train || common.virtual_stages == 1 || common.pp > 1,
                     "--virtual-stages {}: they divide the stages of a pipeline; give --pp 2 or more",
                     common.virtual_stages);
    topology_ = comm::make_topology(common.tp, common.pp);
    io::on_root(world().handle(), [&] {
        check_summary(common.summary, job_, resolved_);
        check_out(job_, resolved_);
        return std::string();
    });

    const auto hash = static_cast<int64_t>(hash_name(comparable(resolved_).dump() + job_) >> 2);
    const int64_t largest = world().all_reduce(hash, comm::Reduction::max),
                  smallest = -world().all_reduce(-hash, comm::Reduction::max);
    ESPALIER_REQUIRE(largest == smallest, "{}", different_options);

    const int cores = comm::cores_of_rank();  // collective, also where it is not asked for
    const int threads = common.threads > 0 ? common.threads : cores;
    const ContextOptions place = place_rank(common, job_, threads, world(), log_);
    device_name_ = device_name(place);
    warn_once(log_, why_no_gpu(common, job_, {.back_end = has_cuda, .driver = has_nvidia_driver()}));
    context_ = std::make_unique<Context>(place);
    comm::attach(topology_, *context_, kind.traffic, virtual_stages);
    if (virtual_stages != common.virtual_stages && root() && kind.computes == Computes::yes)
        log_.info("--virtual-stages {} shorten a training pipeline's waits; this job's stages stay whole",
                  common.virtual_stages);
    if (common.dtype.empty()) {
        dtype_ = has_native_matmul(*context_, DType::bf16) ? DType::bf16 : DType::f32;
        // Mixed machines must agree: the weakest decides.
        if (world().any(dtype_ == DType::f32)) dtype_ = DType::f32;
    } else {
        ESPALIER_REQUIRE(common.dtype == "f32" || common.dtype == "bf16", "--dtype {}: choose f32 or bf16",
                         common.dtype);
        dtype_ = common.dtype == "f32" ? DType::f32 : DType::bf16;
    }
    log_.debug("stage {}, tensor part {}, replica {}, {} threads, {}, {}", topology_.stage(),
               topology_.tensor.rank(), topology_.data.rank(), context_->threads(), to_string(dtype_),
               device_name_.empty() ? "on the CPU" : device_name_);
    memory_at_start_ = resident_memory();
}

double Session::seconds() const {
    return std::chrono::duration<double>(std::chrono::steady_clock::now() - start_).count();
}

nlohmann::ordered_json Session::facts() const {
    char host[256] = "";
    gethostname(host, sizeof host - 1);
    const auto& l = topology_.layout;
    return {{"version", ESPALIER_VERSION},
            {"dtype", to_string(dtype_)},
            {"layout",
             {{"ranks", world().size()},
              {"tp", l.tp},
              {"pp", l.pp},
              {"dp", l.dp},
              {"threads", context_->threads()}}},
            {"device", context_->on_gpu() ? "cuda" : "cpu"},
            {"build", {{"compiler", __VERSION__}, {"mpi", mpi_name()}, {"cuda", has_cuda}}},
            {"libraries", libraries()},
            {"machine",
             {{"host", host},
              {"cpu", cpu_name()},
              {"gpu", device_name_},
              {"cores", std::thread::hardware_concurrency()},
              {"node_ranks", comm::node_ranks()}}}};
}

void Session::finish() {
    const double wall = seconds();
    const int64_t peak = world().all_reduce(peak_memory(), comm::Reduction::max);
    const auto pooled = static_cast<int64_t>(context_->on_gpu() ? context_->pooled_bytes() : 0);
    const int64_t device_memory = world().all_reduce(pooled, comm::Reduction::max);
    const nlohmann::ordered_json about = facts();
    log_.debug("{:.1f} s, {} MiB at most", wall, peak_memory() >> 20);
    if (!root() || common_.summary.empty()) return;
    nlohmann::ordered_json out{{"job", job_}, {"version", ESPALIER_VERSION}};
    for (const auto& [key, value] : results.items()) out[key] = value;
    for (const char* key : {"dtype", "layout", "device"}) out[key] = about[key];
    out["wall_seconds"] = wall;
    out["peak_memory_bytes"] = peak;
    if (device_memory > 0) out["device_memory_bytes"] = device_memory;
    out["model_flops"] = model_flops;
    out["options"] = resolved_;
    for (const char* key : {"build", "libraries", "machine"}) out[key] = about[key];
    // A job may have made a file of this name since the start looked.
    ESPALIER_REQUIRE(
        !std::filesystem::exists(common_.summary) || is_summary(common_.summary),
        "--summary {}: the job itself made a file of this name, which is kept; the summary is not "
        "written, choose another name for it",
        common_.summary);
    io::write_file(common_.summary, out.dump(1, ' ', false, nlohmann::json::error_handler_t::replace) + "\n");
}

int run_job(const std::string& job, const std::vector<std::string>& arguments,
            const std::function<void(Options&)>& declare,
            const std::function<int(Session&, const Options&)>& body, const Positional& positional) {
    CommonOptions common;
    Options options(job, common, positional);
    declare(options);
    int rank = 0;
    CHECK_MPI(MPI_Comm_rank(MPI_COMM_WORLD, &rank));
    const bool asked_for_text = !options.parse(arguments, rank == 0);
    if (all_or_none(asked_for_text)) return 0;
    Session session(job, options, common);
    const int code = body(session, options);
    if (code != exit_code::bad_input) session.finish();
    return code;
}

}  // namespace espalier::jobs
