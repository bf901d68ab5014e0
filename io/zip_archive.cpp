#include "io/zip_archive.hpp"

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <string_view>

#include "src/core/error.hpp"

namespace espalier::io {
namespace {

constexpr uint32_t local_signature = 0x04034b50, central_signature = 0x02014b50, end_signature = 0x06054b50,
                   end64_signature = 0x06064b50, locator_signature = 0x07064b50;
constexpr size_t local_size = 30, central_size = 46, end_size = 22, end64_size = 56, locator_size = 20;

// Fields at offsets from `at`; every access is checked.
class Record {
public:
    Record(const MappedFile& file, uint64_t at, size_t size, const char* what)
        : file_(file), at_(at), what_(what) {
        bytes(0, size);
    }
    template <class T>
    T field(uint64_t offset) const {
        T value;
        std::memcpy(&value, bytes(offset, sizeof(T)).data(), sizeof(T));
        return value;
    }
    std::string_view bytes(uint64_t offset, uint64_t size) const {
        const uint64_t end = file_.size();
        ESPALIER_REQUIRE(at_ <= end && offset <= end - at_ && size <= end - at_ - offset,
                         "{}: damaged or truncated archive: the {} at byte {} leaves the file", file_.path(),
                         what_, at_);
        return {reinterpret_cast<const char*>(file_.bytes().data()) + at_ + offset,
                static_cast<size_t>(size)};
    }
    void expect(uint32_t signature) const {
        ESPALIER_REQUIRE(field<uint32_t>(0) == signature, "{}: damaged archive: no {} at byte {}",
                         file_.path(), what_, at_);
    }

private:
    const MappedFile& file_;
    uint64_t at_;
    const char* what_;
};

struct Directory {
    uint64_t begin, size, count;
};

Directory find_directory(const MappedFile& file) {
    // The end record is the last thing in the file, before a comment of at most 64 KiB.
    ESPALIER_REQUIRE(file.size() >= end_size, "{}: too short for an archive", file.path());
    const size_t last = file.size() - end_size, first = last - std::min<size_t>(last, 65535);
    for (size_t at = last + 1; at-- > first;) {
        const Record end(file, at, end_size, "end record");
        if (end.field<uint32_t>(0) != end_signature || at + end_size + end.field<uint16_t>(20) != file.size())
            continue;
        const Directory directory{end.field<uint32_t>(16), end.field<uint32_t>(12), end.field<uint16_t>(10)};
        const bool wide =
            directory.begin == UINT32_MAX || directory.size == UINT32_MAX || directory.count == UINT16_MAX;
        if (!wide || at < locator_size) return directory;
        const Record locator(file, at - locator_size, locator_size, "zip64 locator");
        if (locator.field<uint32_t>(0) != locator_signature) return directory;
        const Record end64(file, locator.field<uint64_t>(8), end64_size, "zip64 end record");
        end64.expect(end64_signature);
        return {end64.field<uint64_t>(48), end64.field<uint64_t>(40), end64.field<uint64_t>(32)};
    }
    fail("{}: no directory at the end of the archive; it is truncated: fetch it again", file.path());
}

// Sizes and offsets that do not fit 32 bits are in the extra field 1, in this order, each only if its short
// form is all ones.
struct Wide {
    uint64_t size, stored, offset;
};

Wide widen(const Record& entry, uint64_t extra_begin, uint64_t extra_size, Wide wide) {
    for (uint64_t at = 0; at + 4 <= extra_size;) {
        const auto id = entry.field<uint16_t>(extra_begin + at);
        const uint64_t size = entry.field<uint16_t>(extra_begin + at + 2);
        uint64_t from = extra_begin + at + 4;
        if (id == 1) {
            for (uint64_t* value : {&wide.size, &wide.stored, &wide.offset}) {
                if (*value != UINT32_MAX || from + 8 > extra_begin + at + 4 + size) continue;
                *value = entry.field<uint64_t>(from);
                from += 8;
            }
        }
        at += 4 + size;
    }
    return wide;
}

}  // namespace

bool is_zip(const MappedFile& file) {
    return file.size() >= 4 && std::memcmp(file.bytes().data(), "PK\3\4", 4) == 0;
}

std::map<std::string, ZipMember> zip_members(const MappedFile& file) {
    const auto directory = find_directory(file);
    ESPALIER_REQUIRE(directory.count <= file.size() / central_size,
                     "{}: damaged archive: {} members in {} bytes", file.path(), directory.count,
                     file.size());
    std::map<std::string, ZipMember> members;
    uint64_t at = directory.begin;
    for (uint64_t i = 0; i < directory.count; ++i) {
        const Record entry(file, at, central_size, "directory entry");
        entry.expect(central_signature);
        const uint64_t name_size = entry.field<uint16_t>(28), extra_size = entry.field<uint16_t>(30);
        const std::string name(entry.bytes(central_size, name_size));
        entry.bytes(central_size + name_size, extra_size);
        const auto wide =
            widen(entry, central_size + name_size, extra_size,
                  {entry.field<uint32_t>(24), entry.field<uint32_t>(20), entry.field<uint32_t>(42)});
        ESPALIER_REQUIRE((entry.field<uint16_t>(8) & 1U) == 0, "{}: member '{}' is encrypted", file.path(),
                         name);
        ESPALIER_REQUIRE(entry.field<uint16_t>(10) == 0 && wide.size == wide.stored,
                         "{}: member '{}' is compressed, but torch.save stores; this is not a PyTorch file",
                         file.path(), name);

        const Record local(file, wide.offset, local_size, "member");
        local.expect(local_signature);
        const uint64_t skipped = local_size + local.field<uint16_t>(26) + local.field<uint16_t>(28);
        local.bytes(skipped, wide.size);
        const ZipMember member{static_cast<size_t>(wide.offset + skipped), static_cast<size_t>(wide.size)};
        ESPALIER_REQUIRE(members.emplace(name, member).second, "{}: member '{}' occurs twice", file.path(),
                         name);
        at += central_size + name_size + extra_size + entry.field<uint16_t>(32);
    }
    return members;
}

}  // namespace espalier::io
