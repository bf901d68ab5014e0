// Every reader of foreign files, as something that bytes can be thrown at.
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace espalier::test {

struct Reader {
    std::string_view name;
    std::vector<std::string> (*seeds)();  ///< whole files, small, that together use all of the format
    /// Opens a file of these bytes and reads all that it lists. Throws UserError, or returns; anything else
    /// is a bug.
    void (*read)(const std::string& bytes);
};

const std::vector<Reader>& readers();
const Reader& reader(std::string_view name);

}  // namespace espalier::test
