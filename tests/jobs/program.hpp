// The built program, and a tiny world of files for it.
#pragma once

#include <string>
#include <vector>

#include "tests/support/process.hpp"
#include "tests/support/temporary_folder.hpp"

namespace espalier::test {

/// Runs `espalier` with these arguments, on `ranks` ranks of an mpirun of its own where there is more than
/// one, with "NAME=value" words added to the environment. $ESPALIER_TEST_PROGRAM names another than the one
/// that was built beside the tests.
ProcessResult espalier(const std::vector<std::string>& arguments, int ranks = 1,
                       std::vector<std::string> environment = {});

/// A folder with arch.json, model.h5 (random, 4 layers, vocabulary 97), tokens.bin and .idx (20 documents)
/// and scores.h5 of the model.
class TinyWorld {
public:
    TinyWorld();
    std::string path(const std::string& name) const { return (folder_ / name).string(); }
    bool exists(const std::string& name) const;
    std::string read(const std::string& name) const;
    void write(const std::string& name, const std::string& content) const;
    /// Names in the folder, sorted.
    std::vector<std::string> names() const;
    std::vector<std::string> tree() const;  ///< of folders in it, too

private:
    TemporaryFolder folder_;
};

/// Options of a short distillation of model.h5 into itself.
std::vector<std::string> distill_arguments(const TinyWorld& world, const std::string& out,
                                           const std::vector<std::string>& more = {});
/// Gives an option that the arguments have another value.
void set_option(std::vector<std::string>& arguments, const std::string& option, const std::string& value);

}  // namespace espalier::test
