// Options in a file: `key = value` lines, those before the first section for every job, those of [job] for
// it.
#pragma once

#include <string>
#include <vector>

namespace espalier::jobs {

/// A line `key = value` without its comment, which # begins at the start of a line or after white space.
struct Setting {
    std::string where;  ///< FILE, line N
    std::string key, text;
};

/// The settings that concern `job`, in order; those of other jobs are left out. Throws UserError for what is
/// no such file, with the line.
std::vector<Setting> read_settings(const std::string& path, const std::string& job);

/// The value of an option that takes one: all of the text, or the JSON string that it is.
std::string value_of(const Setting& setting);
/// Those of an option that takes a list: words with white space between, each as it stands or a JSON string.
std::vector<std::string> words_of(const Setting& setting);

/// A text that value_of and words_of read back: `value` as it stands where that does, else in quotes.
std::string as_setting(const std::string& value);

}  // namespace espalier::jobs
