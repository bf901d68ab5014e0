#include "jobs/json_file.hpp"

#include "io/publish.hpp"
#include "src/core/error.hpp"
#include "src/json/parse.hpp"
#include "src/model/architecture_json.hpp"

namespace espalier::jobs {

nlohmann::json read_json(const std::string& path) {
    return parse_json(io::read_file(path, size_t{16} << 20), path);
}

model::Architecture read_architecture(const std::string& path) {
    const auto object = read_json(path);
    ESPALIER_REQUIRE(object.is_object(), "{}: not a JSON object", path);
    const bool wrapped = object.contains("architecture") && object["architecture"].is_object();
    return model::architecture_from_json(wrapped ? object["architecture"] : object, path);
}

}  // namespace espalier::jobs
