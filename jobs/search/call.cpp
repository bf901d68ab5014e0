#include "jobs/search/call.hpp"

#include <filesystem>

#include "io/publish.hpp"
#include "jobs/job.hpp"
#include "jobs/session/device.hpp"
#include "src/core/error.hpp"

namespace espalier::jobs {

CallResult call_job(Session& session, comm::Mpi& mpi, const std::string& name,
                    std::vector<std::string> arguments, const std::string& summary_file) {
    const auto& common = session.common();
    const Job& job = *find_job(name);
    const std::string device = job.computes == Computes::yes ? common.device : "cpu";
    const int virtual_stages = job.trains() ? common.virtual_stages : 1;
    if (common.share_device) arguments.emplace_back("--share-device");
    for (const auto& [option, value] : {std::pair<const char*, std::string>{"--device", device},
                                        {"--dtype", std::string(to_string(session.dtype()))},
                                        {"--tp", std::to_string(common.tp)},
                                        {"--pp", std::to_string(common.pp)},
                                        {"--virtual-stages", std::to_string(virtual_stages)},
                                        {"--threads", std::to_string(common.threads)},
                                        {"--seed", std::to_string(common.seed)},
                                        {"--summary", summary_file}})
        arguments.insert(arguments.end(), {option, value});
    arguments.emplace_back("--quiet");

    CallResult out;
    out.exit_code = job.run(arguments, mpi);
    if (out.exit_code == exit_code::bad_input) return out;
    std::string summary;
    if (session.root()) {
        summary = io::read_file(summary_file);
        std::filesystem::remove(summary_file);
    }
    out.summary = nlohmann::json::parse(session.world().broadcast(std::move(summary)));
    if (out.summary.contains("model_flops")) session.model_flops += out.summary["model_flops"].get<double>();
    return out;
}

}  // namespace espalier::jobs
