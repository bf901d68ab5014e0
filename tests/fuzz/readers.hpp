// Every reader of foreign files, as something that bytes can be thrown at.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>
#include <vector>

namespace espalier::test {

/// HDF5 1.10 loses memory of its own over damaged files, which the leak check would hold against us.
enum class Leaks { checked, of_a_library };

struct Reader {
    std::string_view name;
    std::vector<std::string> (*seeds)();  ///< whole files, small, that together use all of the format
    /// Opens a file of these bytes and reads all that it lists. Throws UserError, or returns; anything else
    /// is a bug.
    void (*read)(const std::string& bytes);
    size_t allowance = 65536;  ///< bytes of an allocation that no file is too small for
    Leaks leaks = Leaks::checked;
};

const std::vector<Reader>& readers();
const Reader& reader(std::string_view name);

}  // namespace espalier::test
