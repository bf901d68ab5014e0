#include "tests/support/leaks.hpp"

#ifdef ESPALIER_ASAN
#include <sanitizer/lsan_interface.h>

extern "C" const char* __lsan_default_suppressions();
extern "C" const char* __lsan_default_suppressions() {
    return "leak:libmpi\nleak:libopen-\nleak:mca_\nleak:libpmix\nleak:libhwloc\nleak:libevent\nleak:"
           "libucp\nleak:libucs\n"
           "leak:libfabric\nleak:libgomp\nleak:libomp\n";
}

extern "C" const char* __asan_default_options();
/// GCC 12's runtime takes a word beside memory of thread-local variables, which glibc allocates for plugins
/// of MPI, for that memory's size; where it is none, looking for leaks ends with SIGSEGV ("Tracer caught
/// signal").
extern "C" const char* __asan_default_options() {
    return "intercept_tls_get_addr=0";
}
#endif

namespace espalier::test {

#ifdef ESPALIER_ASAN
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
