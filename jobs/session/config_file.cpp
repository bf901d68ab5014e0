#include "jobs/session/config_file.hpp"

#include <algorithm>
#include <nlohmann/json.hpp>
#include <sstream>
#include <string_view>

#include "io/publish.hpp"
#include "jobs/job.hpp"
#include "src/core/error.hpp"

namespace espalier::jobs {
namespace {

constexpr std::string_view byte_order_mark = "\xef\xbb\xbf", blanks = " \t\r\v\f";

std::string_view trimmed(std::string_view text) {
    const size_t begin = text.find_first_not_of(blanks);
    if (begin == std::string_view::npos) return {};
    return text.substr(begin, text.find_last_not_of(blanks) + 1 - begin);
}

bool is_comment(std::string_view text) {
    return text.empty() || text.front() == '#' || text.front() == ';';
}

/// Behind the quote that closes the one at `begin`.
size_t end_of_quotes(std::string_view text, size_t begin, const std::string& where) {
    for (size_t i = begin + 1; i < text.size(); ++i) {
        if (text[i] == '\\') {
            ++i;
        } else if (text[i] == '"') {
            return i + 1;
        }
    }
    fail("{}: the quote before {} is not closed; put a value that contains a \" in quotes, with \\\" for it",
         where, text.substr(begin + 1));
}

/// The words up to a comment. White space inside quotes parts none.
std::vector<std::string_view> split(std::string_view text, const std::string& where) {
    std::vector<std::string_view> out;
    size_t at = 0;
    while ((at = text.find_first_not_of(blanks, at)) < text.size() && text[at] != '#') {
        const size_t quoted = text[at] == '"' ? end_of_quotes(text, at, where) : at,
                     end = std::min(text.find_first_of(blanks, quoted), text.size());
        out.push_back(text.substr(at, end - at));
        at = end;
    }
    return out;
}

std::string unquoted(std::string_view word, const std::string& where) {
    if (!word.starts_with('"')) return std::string(word);
    const auto value = nlohmann::json::parse(word, nullptr, false);
    ESPALIER_REQUIRE(
        value.is_string(),
        "{}: {} is not a text in quotes; put all of it in quotes, with \\\" for \" and \\\\ for \\", where,
        word);
    return value.get<std::string>();
}

std::string section_name(std::string_view line, const std::string& where) {
    const size_t end = line.find(']');
    ESPALIER_REQUIRE(end != std::string_view::npos && is_comment(trimmed(line.substr(end + 1))),
                     "{}: expected [job], found {}", where, line);
    std::string name(trimmed(line.substr(1, end - 1)));
    ESPALIER_REQUIRE(find_job(name), "{}: section [{}] is not a job; `espalier --help` lists them", where,
                     name);
    return name;
}

Setting setting(std::string_view line, std::string where) {
    const size_t equals = line.find('=');
    ESPALIER_REQUIRE(equals != std::string_view::npos && equals > 0,
                     "{}: {} is neither [job] nor key = value", where, line);
    const auto words = split(line.substr(equals + 1), where);
    std::string text;
    if (!words.empty()) text.assign(words.front().data(), words.back().data() + words.back().size());
    return {std::move(where), std::string(trimmed(line.substr(0, equals))), std::move(text)};
}

}  // namespace

std::vector<Setting> read_settings(const std::string& path, const std::string& job) {
    std::string content = io::read_file(path, size_t{1} << 20);
    if (content.starts_with(byte_order_mark)) content.erase(0, byte_order_mark.size());
    std::istringstream in(content);
    std::vector<Setting> out;
    bool ours = true;
    int number = 0;
    for (std::string text; std::getline(in, text);) {
        const std::string where = fmt::format("{}, line {}", path, ++number);
        const std::string_view line = trimmed(text);
        if (is_comment(line)) continue;
        if (line.front() == '[') {
            ours = section_name(line, where) == job;
        } else if (ours) {
            out.push_back(setting(line, where));
        }
    }
    return out;
}

std::string value_of(const Setting& setting) {
    return unquoted(setting.text, setting.where);
}

std::vector<std::string> words_of(const Setting& setting) {
    std::vector<std::string> out;
    for (const auto word : split(setting.text, setting.where)) out.push_back(unquoted(word, setting.where));
    return out;
}

std::string as_setting(const std::string& value) {
    const bool plain = !value.empty() && std::all_of(value.begin(), value.end(), [](char c) {
        return static_cast<unsigned char>(c) > ' ' && c != '"' && c != '#';
    });
    return plain ? value : nlohmann::json(value).dump();
}

}  // namespace espalier::jobs
