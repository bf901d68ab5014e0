// TensorBoard's event files, scalars only: TFRecord framing around the few fields of the Event message that
// TensorBoard reads (tensorflow/core/util/event.proto, tensorflow/core/framework/summary.proto).
#pragma once

#include <cstdint>
#include <cstdio>
#include <memory>
#include <span>
#include <string>
#include <string_view>

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

    const std::string& path() const { return path_; }
    /// Handed to the system on return. Throws UserError when the disk is full.
    void write(int64_t step, std::span<const Scalar> scalars);
    /// On the disk on return.
    void flush();

private:
    void append(std::string_view event);

    struct Close {
        void operator()(std::FILE* file) const { std::fclose(file); }
    };
    std::string path_;
    std::unique_ptr<std::FILE, Close> file_;
};

}  // namespace espalier::io
