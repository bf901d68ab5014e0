#include "tests/support/leaks.hpp"

#ifdef __SANITIZE_ADDRESS__
#include <sanitizer/lsan_interface.h>

extern "C" const char* __lsan_default_suppressions();
extern "C" const char* __lsan_default_suppressions() {
    return "leak:libmpi\nleak:libopen-\nleak:mca_\nleak:libpmix\nleak:libhwloc\nleak:libevent\nleak:"
           "libucp\nleak:libucs\n"
           "leak:libfabric\nleak:libgomp\n";
}
#endif

namespace espalier::test {

#ifdef __SANITIZE_ADDRESS__
IgnoreLeaks::IgnoreLeaks() {
    __lsan_disable();
}
IgnoreLeaks::~IgnoreLeaks() {
    __lsan_enable();
}
void check_for_leaks() {
    __lsan_do_leak_check();
}
#else
IgnoreLeaks::IgnoreLeaks() = default;
IgnoreLeaks::~IgnoreLeaks() = default;
void check_for_leaks() {}
#endif

}  // namespace espalier::test
