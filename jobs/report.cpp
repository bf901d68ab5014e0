// report: one HTML page from the folders of training runs.
#include <filesystem>
#include <fstream>

#include "io/publish.hpp"
#include "jobs/job.hpp"
#include "jobs/report/page.hpp"
#include "jobs/session/output_lock.hpp"
#include "jobs/session/session.hpp"
#include "src/core/error.hpp"

namespace espalier::jobs {
namespace {

/// What --force may replace. A name given in error may be one of a run's own files.
bool is_page(const std::string& path) {
    std::ifstream file(path);
    std::string line;
    std::getline(file, line);
    return line == page_begins_with;
}

}  // namespace

int report(const std::vector<std::string>& arguments, comm::Mpi&) {
    std::vector<std::string> folders;
    std::string out;
    const auto declare = [&](Options& options) {
        options.required("runs", folders,
                         "RUNDIR..., with or without --runs: folders of `distill` and `train`");
        options.required("out", out, "FILE.html");
    };
    const auto body = [&](Session& session, const Options&) {
        const OutputLock lock(session, out);
        if (!session.root()) return exit_code::done;
        io::check_output(out, session.common().existing());
        ESPALIER_REQUIRE(!std::filesystem::exists(out) || is_page(out),
                         "--out {}: the file exists and is no page of HTML; choose another name", out);
        std::vector<RunRecord> runs;
        auto& results = session.results["runs"] = nlohmann::ordered_json::array();
        for (const auto& folder : folders) {
            const auto& run = runs.emplace_back(read_run(folder));
            results.push_back({{"run", folder}, {"steps", static_cast<int64_t>(run.lines.back().step)}});
            for (const char* metric : {"loss", "valid_loss"}) {
                if (const auto value = run.last(metric)) results.back()[metric] = *value;
            }
        }
        io::write_file(out, report_page(runs));
        session.log().result("{}: {} runs", out, runs.size());
        return exit_code::done;
    };
    return run_job("report", arguments, declare, body, {"runs", "RUNDIR..."});
}

}  // namespace espalier::jobs
