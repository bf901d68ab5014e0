# What a build can choose, and the flags that follow from it.
option(ESPALIER_TESTS "Build the tests" ON)
option(ESPALIER_BENCHMARKS "Build the micro-benchmarks" ON)
option(ESPALIER_SANITIZE "AddressSanitizer and UndefinedBehaviorSanitizer, and with clang the fuzzers" OFF)
option(ESPALIER_WERROR "A compiler's warning ends the build" OFF)
set(baseline)
if(CMAKE_SYSTEM_PROCESSOR MATCHES "^(x86_64|AMD64)$")
    set(baseline x86-64-v3)
endif()
set(ESPALIER_CPU_BASELINE "${baseline}" CACHE STRING
    "-march of the whole program, empty: the compiler's own; wider units are chosen at run time (kernels/cpu/isa.hpp, oneDNN)")

set(CMAKE_CXX_STANDARD 20)
set(CMAKE_CXX_STANDARD_REQUIRED ON)
set(CMAKE_CXX_EXTENSIONS OFF)
set(CMAKE_EXPORT_COMPILE_COMMANDS ON)
if(NOT CMAKE_RUNTIME_OUTPUT_DIRECTORY)
    set(CMAKE_RUNTIME_OUTPUT_DIRECTORY ${PROJECT_BINARY_DIR})
endif()

add_library(espalier_flags INTERFACE)
target_compile_options(espalier_flags INTERFACE
    "$<$<COMPILE_LANGUAGE:CXX>:-Wall;-Wextra;-Wpedantic;-Wshadow;-Wconversion;-Wno-sign-conversion$<$<BOOL:${ESPALIER_WERROR}>:;-Werror>>"
    "$<$<COMPILE_LANGUAGE:CXX>:$<$<BOOL:${ESPALIER_CPU_BASELINE}>:-march=${ESPALIER_CPU_BASELINE};>-fno-math-errno;-fno-trapping-math>"
    # GCC 12 warns of overlaps in std::string's own code at -O3 (GCC bug 105651).
    $<$<COMPILE_LANG_AND_ID:CXX,GNU>:-Wno-restrict>
    # Of `omp simd` loops that clang leaves scalar, as it does in debug builds.
    $<$<COMPILE_LANG_AND_ID:CXX,Clang>:-Wno-pass-failed>)
target_include_directories(espalier_flags INTERFACE ${PROJECT_SOURCE_DIR})
target_compile_definitions(espalier_flags INTERFACE
    ESPALIER_VERSION="${PROJECT_VERSION}"
    OMPI_SKIP_MPICXX=1
    $<$<CONFIG:Debug>:ESPALIER_DEBUG=1>)
if(ESPALIER_SANITIZE)
    target_compile_options(espalier_flags INTERFACE -fsanitize=address,undefined -fno-sanitize-recover=all -fno-omit-frame-pointer)
    target_link_options(espalier_flags INTERFACE -fsanitize=address,undefined)
    target_compile_definitions(espalier_flags INTERFACE ESPALIER_ASAN=1) # clang 14 and GCC have no macro in common for it
endif()

find_program(CCACHE ccache)
if(CCACHE AND NOT CMAKE_CXX_COMPILER_LAUNCHER)
    set(CMAKE_CXX_COMPILER_LAUNCHER ${CCACHE})
endif()
