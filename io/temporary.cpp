#include "io/temporary.hpp"

#include <algorithm>
#include <filesystem>
#include <mutex>
#include <utility>
#include <vector>

#include "io/publish.hpp"

namespace espalier::io {
namespace {

// Who ends the process knows no object of it.
// Also held while one is removed or takes its name: what comes next may want the name.
std::recursive_mutex mutex;
std::vector<const Temporary*> living;

}  // namespace

Temporary::Temporary(std::string path, Inside inside) : path_(std::move(path)), inside_(inside) {
    const std::lock_guard lock(mutex);
    living.push_back(this);
}

Temporary::~Temporary() {
    const std::lock_guard lock(mutex);
    if (!kept_) remove();
    living.erase(std::find(living.begin(), living.end(), this));
}

void Temporary::keep() {
    const std::lock_guard lock(mutex);
    kept_ = true;
}

void Temporary::publish_as(const std::string& to) {
    const std::lock_guard lock(mutex);
    io::publish(path_, to);
    kept_ = true;
}

void Temporary::publish_over(const std::string& to) {
    const std::lock_guard lock(mutex);
    io::publish_over(path_, to);
    kept_ = true;
}

void Temporary::remove() const {
    std::error_code ignored;
    if (inside_ == Inside::stays) {
        std::filesystem::remove(path_, ignored);
        return;
    }
    // Where a signal ends the process, others go on making files in the folder until it is gone.
    constexpr int most_tries = 1000;
    for (int i = 0; i < most_tries && std::filesystem::exists(path_, ignored); ++i)
        std::filesystem::remove_all(path_, ignored);
}

std::unique_lock<std::recursive_mutex> hold_off_removal() {
    return std::unique_lock(mutex);
}

void remove_temporaries() {
    mutex.lock();  // for good
    std::for_each(living.rbegin(), living.rend(), [](const Temporary* one) {
        if (!one->kept_) one->remove();
    });
}

}  // namespace espalier::io
