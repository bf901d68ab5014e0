#include "jobs/files/json_file.hpp"

#include <cerrno>
#include <fstream>

#include "io/publish.hpp"
#include "io/system_error.hpp"
#include "src/core/error.hpp"
#include "src/json/parse.hpp"
#include "src/model/architecture_json.hpp"

namespace espalier::jobs {

nlohmann::json read_json(const std::string& path) {
    return parse_json(io::read_file(path, size_t{16} << 20), path);
}

void for_each_json_line(const std::string& path, const ReadJsonLine& read) {
    std::ifstream in(path);
    if (!in) io::fail_of_system("cannot read " + path, errno);
    int64_t number = 0, bytes = 0;
    for (std::string line; std::getline(in, line);) {
        const std::string where = fmt::format("{}, line {}", path, ++number);
        bytes += std::ssize(line) + (in.eof() ? 0 : 1);
        if (line.find_first_not_of(" \t\r") == std::string::npos) continue;
        const auto object = parse_json(line, where, {.unique_keys = false});
        ESPALIER_REQUIRE(object.is_object(), "{}: expected a JSON object", where);
        read(object, where, bytes);
    }
    if (in.bad()) io::fail_of_system(fmt::format("cannot read {} beyond line {}", path, number), errno);
}

model::Architecture read_architecture(const std::string& path) {
    const auto object = read_json(path);
    ESPALIER_REQUIRE(object.is_object(), "{}: not a JSON object", path);
    const bool wrapped = object.contains("architecture") && object["architecture"].is_object();
    return model::architecture_from_json(wrapped ? object["architecture"] : object, path);
}

}  // namespace espalier::jobs
