// TensorBoard's event files, scalars only: TFRecord framing around the few fields of the Event message that
// TensorBoard reads (tensorflow/core/util/event.proto, tensorflow/core/framework/summary.proto).
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>

#include "io/appended_file.hpp"

namespace espalier::io {

/// CRC-32C (Castagnoli), as RFC 3720 B.4 has it.
uint32_t crc32c(std::string_view bytes);
/// Length, its masked checksum, the bytes, their masked checksum (tensorflow/core/lib/io/record_writer.h).
std::string tf_record(std::string_view bytes);

struct Scalar {
    std::string_view tag;
    double value;  ///< stored as f32
};

/// Messages of type Event, without their framing. Times are seconds since 1970.
std::string version_event(double time);
std::string start_event(double time, int64_t first_step);
std::string scalars_event(double time, int64_t step, std::span<const Scalar> scalars);

/// One start of a run: `folder`/events.out.tfevents.<seconds>.<host>, always a file of its own. It begins
/// with a SessionLog START at `first_step`, which makes TensorBoard forget what earlier files of the folder
/// say about this step and those after it.
class EventFile {
public:
    /// Throws UserError when the file cannot be made.
    EventFile(const std::string& folder, int64_t first_step);

    const std::string& path() const { return file_->path(); }
    /// As AppendedFile::append().
    bool write(int64_t step, std::span<const Scalar> scalars);
    /// As AppendedFile::sync().
    bool flush() { return file_->sync(); }
    const std::string& problem() const { return file_->problem(); }

private:
    std::optional<AppendedFile> file_;
};

}  // namespace espalier::io
