// The members of a ZIP archive that stores them as they are, also of one larger than 4 GiB (APPNOTE.TXT of
// PKWARE, 4.3 and 4.5).
#pragma once

#include <map>
#include <string>

#include "io/mapped_file.hpp"

namespace espalier::io {

struct ZipMember {
    size_t begin;  ///< of its data in the file
    size_t size;
};

/// False when the file does not begin like an archive.
bool is_zip(const MappedFile& file);

/// Every member by name. Throws UserError on anything inconsistent, and for a member that is compressed or
/// encrypted.
std::map<std::string, ZipMember> zip_members(const MappedFile& file);

}  // namespace espalier::io
