// SHA-256 (FIPS 180-4), by OpenSSL.
#pragma once

#include <cstddef>
#include <memory>
#include <span>
#include <string>
#include <string_view>

namespace espalier::io {

class Sha256 {
public:
    Sha256();
    ~Sha256();
    Sha256(Sha256&&) noexcept;

    void update(std::span<const std::byte> bytes);
    void update(std::string_view text) { update(std::as_bytes(std::span(text))); }
    /// 64 lower-case hexadecimal digits. Ends the computation.
    std::string hex();

private:
    struct State;
    std::unique_ptr<State> state_;
};

/// Throws UserError when the file cannot be read.
std::string sha256_of_file(const std::string& path);

}  // namespace espalier::io
