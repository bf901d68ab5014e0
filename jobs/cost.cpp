// cost: what a family of models costs, trained from scratch and pruned and distilled.
#include <cmath>

#include "jobs/files/json_file.hpp"
#include "jobs/job.hpp"
#include "jobs/session/session.hpp"
#include "jobs/session/standard_output.hpp"
#include "src/core/error.hpp"
#include "src/plan/family.hpp"
#include "src/plan/system.hpp"

namespace espalier::jobs {
namespace {

struct CostOptions {
    std::string family, system;
    double tokens = 0, price_per_hour = 0, mfu = 0.4;
};

/// What FLOPs mean on a system.
struct Rates {
    std::optional<plan::System> system;
    double flops_per_second = 0;  ///< of a GPU
    double price_per_hour = 0;

    double hours(double flops) const { return flops / flops_per_second / 3600; }
    double megawatt_hours(double flops) const { return hours(flops) * system->watts * 1e-6; }
};

nlohmann::ordered_json line_json(const Rates& rates, double flops) {
    nlohmann::ordered_json out{{"flops", flops}};
    if (!rates.system) return out;
    out["gpu_hours"] = rates.hours(flops);
    if (rates.system->watts > 0) out["megawatt_hours"] = rates.megawatt_hours(flops);
    if (rates.price_per_hour > 0) out["price"] = rates.hours(flops) * rates.price_per_hour;
    return out;
}

void print_line(const Rates& rates, const char* what, double flops) {
    print_out("{:<42}{:>12.3e}", what, flops);
    if (rates.system) {
        print_out("{:>14.0f}", rates.hours(flops));
        if (rates.system->watts > 0) print_out("{:>12.1f}", rates.megawatt_hours(flops));
        if (rates.price_per_hour > 0) print_out("{:>16.0f}", rates.hours(flops) * rates.price_per_hour);
    }
    print_out("\n");
}

}  // namespace

int cost(const std::vector<std::string>& arguments, comm::Mpi&) {
    CostOptions o;
    const auto declare = [&](Options& options) {
        options.required("family", o.family, "FILE.json: the models and how each is made (share/families)");
        options.add("tokens", o.tokens, "of each model from scratch; 0: the file's");
        options.add("system", o.system, "FILE.json of the cluster, for hours and energy");
        options.add("mfu", o.mfu, "share of the cluster's peak that training gets");
        options.add("price-per-hour", o.price_per_hour, "of a GPU; 0: the system file's");
    };
    return run_job("cost", arguments, declare, [&](Session& session, const Options& given) {
        ESPALIER_REQUIRE(o.tokens >= 0 && std::isfinite(o.tokens),
                         "--tokens {}: it must be a number, not negative", o.tokens);
        ESPALIER_REQUIRE(o.mfu > 0 && o.mfu <= 1, "--mfu {}: it must be above 0 and at most 1", o.mfu);
        ESPALIER_REQUIRE(o.price_per_hour >= 0 && std::isfinite(o.price_per_hour),
                         "--price-per-hour {}: it must be a number, not negative", o.price_per_hour);
        ESPALIER_REQUIRE(o.price_per_hour == 0 || !o.system.empty(),
                         "--price-per-hour needs --system FILE.json, which says how many hours it takes");
        if (o.system.empty())
            given.refuse_given({"mfu"},
                               "it is of a cluster's peak; give --system FILE.json, or leave it out");
        const auto family = plan::family_from_json(read_json(o.family), o.family,
                                                   o.tokens > 0 ? std::optional(o.tokens) : std::nullopt);
        const auto cost = plan::cost(family);
        Rates rates;
        if (!o.system.empty()) {
            rates.system = plan::system_from_json(read_json(o.system), o.system);
            rates.flops_per_second = o.mfu * rates.system->peak(rates.system->default_dtype());
            rates.price_per_hour = o.price_per_hour > 0 ? o.price_per_hour : rates.system->price_per_hour;
        }

        auto& results = session.results;
        results["ratio_paper"] = cost.ratio_paper();
        results["ratio_full"] = cost.ratio_full();
        const std::vector<std::tuple<const char*, const char*, double>> lines{
            {"scratch", "every model from scratch", cost.scratch},
            {"base", "the largest from scratch", cost.base},
            {"students", "+ distilling the others", cost.students},
            {"teacher", "+ the teacher's forward passes", cost.teacher},
            {"search", "+ candidates of the search", cost.search},
            {"importance", "+ importance", cost.importance},
            {"full", "= pruned and distilled, all counted", cost.full()}};
        for (const auto& [key, text, flops] : lines) results[key] = line_json(rates, flops);
        if (!session.talks()) return exit_code::done;
        print_out("{:<42}{:>12}{}{}{}\n", "", "FLOP", rates.system ? "     GPU hours" : "",
                  rates.system && rates.system->watts > 0 ? "         MWh" : "",
                  rates.price_per_hour > 0 ? "           price" : "");
        for (const auto& [key, text, flops] : lines) print_line(rates, text, flops);
        print_out(
            "\nfrom scratch costs {:.3f} times as much by the paper's count, {:.3f} times with all counted\n",
            cost.ratio_paper(), cost.ratio_full());
        finish_printing();
        return exit_code::done;
    });
}

}  // namespace espalier::jobs
