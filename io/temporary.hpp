// What is on the disk only while something is made.
#pragma once

#include <mutex>
#include <string>

namespace espalier::io {

/// What becomes of what is in a folder: it stays, and the folder with it; or it goes with the folder.
enum class Inside { stays, goes };

/// A file or folder that goes when this does, also while an exception unwinds and where a signal ends the
/// process (remove_temporaries()), unless it was kept. Others make it and write into it.
class Temporary {
public:
    explicit Temporary(std::string path, Inside inside = Inside::stays);
    ~Temporary();
    Temporary(const Temporary&) = delete;
    Temporary& operator=(const Temporary&) = delete;

    const std::string& path() const { return path_; }
    /// It stays.
    void keep();
    /// It becomes `to` (publish() or publish_over() of io/publish.hpp) and stays: at once for who removes.
    void publish_as(const std::string& to);
    void publish_over(const std::string& to);

private:
    void remove() const;
    friend void remove_temporaries();

    std::string path_;
    Inside inside_;
    bool kept_ = false;
};

/// While it is held, a signal does not end the process: what is published together is there together.
[[nodiscard]] std::unique_lock<std::recursive_mutex> hold_off_removal();

/// Removes all there are, the youngest first. For the last moment of a process: no Temporary begins or ends
/// from then on, who tries waits for the end.
void remove_temporaries();

}  // namespace espalier::io
