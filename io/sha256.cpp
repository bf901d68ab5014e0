#include "io/sha256.hpp"

#include <fcntl.h>
#include <openssl/evp.h>

#include <cerrno>
#include <vector>

#include "io/descriptor.hpp"
#include "io/system_error.hpp"
#include "src/core/error.hpp"

namespace espalier::io {

struct Sha256::State {
    std::unique_ptr<EVP_MD_CTX, decltype(&EVP_MD_CTX_free)> context{EVP_MD_CTX_new(), EVP_MD_CTX_free};
};

namespace {

void require(int result, const char* what) {
    if (result != 1) throw InternalError(fmt::format("OpenSSL: {} failed", what));
}

}  // namespace

Sha256::Sha256() : state_(std::make_unique<State>()) {
    require(EVP_DigestInit_ex(state_->context.get(), EVP_sha256(), nullptr), "EVP_DigestInit_ex");
}

Sha256::~Sha256() = default;
Sha256::Sha256(Sha256&&) noexcept = default;

void Sha256::update(std::span<const std::byte> bytes) {
    require(EVP_DigestUpdate(state_->context.get(), bytes.data(), bytes.size()), "EVP_DigestUpdate");
}

std::string Sha256::hex() {
    unsigned char digest[EVP_MAX_MD_SIZE];
    unsigned length = 0;
    require(EVP_DigestFinal_ex(state_->context.get(), digest, &length), "EVP_DigestFinal_ex");
    std::string text;
    for (unsigned i = 0; i < length; ++i) text += fmt::format("{:02x}", digest[i]);
    return text;
}

std::string sha256_of_file(const std::string& path) {
    const Descriptor file(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
    if (!file) fail_of_system("cannot read " + path, errno);
    Sha256 hash;
    std::vector<std::byte> buffer(size_t{1} << 20);
    for (;;) {
        const ssize_t n = ::read(file.get(), buffer.data(), buffer.size());
        if (n < 0 && errno == EINTR) continue;
        if (n < 0) fail_of_system("cannot read " + path, errno);
        if (n == 0) return hash.hex();
        hash.update(std::span(buffer).first(static_cast<size_t>(n)));
    }
}

}  // namespace espalier::io
