# One folder, one library; tests by one helper. Unknown keywords are errors.

# espalier_library(NAME SOURCES a.cpp ... [LINK targets ...])
function(espalier_library name)
    cmake_parse_arguments(PARSE_ARGV 1 arg "" "" "SOURCES;LINK")
    if(arg_UNPARSED_ARGUMENTS)
        message(FATAL_ERROR "espalier_library(${name}): unknown words ${arg_UNPARSED_ARGUMENTS}")
    endif()
    add_library(${name} STATIC ${arg_SOURCES})
    target_link_libraries(${name} PUBLIC espalier_flags ${arg_LINK})
endfunction()

# espalier_fuzzed(LIBRARY)
#   fuzzers try it, and learn from what it tells of its branches, where the compiler is theirs.
function(espalier_fuzzed name)
    if(ESPALIER_SANITIZE)
        target_compile_options(${name} PRIVATE $<$<CXX_COMPILER_ID:Clang>:-fsanitize=fuzzer-no-link>)
    endif()
endfunction()

# add_espalier_test(NAME SOURCES a.cpp ... [LINK targets ...] [NP 1 2 4] [LABELS mpi ...] [DEVICES] [ON_HOST_NP 2 4]
#                   [ON_HOST_FILTER pattern])
#   builds one GoogleTest program and registers it once for each rank count in NP (none: started alone). The names
#   of tests under sanitizers begin with "sanitized.", so that one ctest can run both builds. DEVICES: the same tests
#   also run on the CUDA back end, as NAME.on_host over tests/cuda_on_host and as NAME.gpu (label gpu, skipped where
#   there is no device); the former, which is slow, with the rank counts and of the tests that ON_HOST_NP and
#   ON_HOST_FILTER name, if given.
function(add_espalier_test name)
    cmake_parse_arguments(PARSE_ARGV 1 arg "DEVICES" "ON_HOST_FILTER" "SOURCES;LINK;NP;LABELS;ON_HOST_NP")
    if(arg_UNPARSED_ARGUMENTS)
        message(FATAL_ERROR "add_espalier_test(${name}): unknown words ${arg_UNPARSED_ARGUMENTS}")
    endif()
    if(NOT arg_LABELS)
        set(arg_LABELS unit)
    endif()
    # Under sanitizers optimisation is half of the compiler's time, and what takes a processor's time is not in here.
    set(level $<IF:$<BOOL:${ESPALIER_SANITIZE}>,-O0,-O1>)
    set_source_files_properties(${arg_SOURCES} PROPERTIES COMPILE_OPTIONS "$<$<CXX_COMPILER_ID:GNU,Clang>:${level}>")

    # Under sanitizers each kernel by itself: whole steps of several ranks would take too long.
    set(on_devices ${arg_DEVICES})
    if(ESPALIER_CUDA_BACKEND STREQUAL none OR (ESPALIER_SANITIZE AND arg_NP))
        set(on_devices FALSE)
    endif()
    set(on_host ${name})
    if(on_devices AND ESPALIER_CUDA_BACKEND STREQUAL toolkit)
        # Compiled once for both links.
        set(on_host ${name}_on_host)
        add_library(${name}_objects OBJECT ${arg_SOURCES})
        target_link_libraries(${name}_objects PUBLIC espalier_test_support ${arg_LINK})
        add_executable(${name})
        add_executable(${on_host})
        _espalier_test_program(${name} ${name}_objects)
        _espalier_test_program(${on_host} ${name}_objects)
        set_target_properties(${on_host} PROPERTIES ESPALIER_ON_HOST ON)
    else()
        add_executable(${name} ${arg_SOURCES})
        _espalier_test_program(${name} ${arg_LINK})
    endif()
    _espalier_register(${name} ${name} "${arg_NP}" "${arg_LABELS}" "")
    if(NOT on_devices)
        return()
    endif()
    if(ESPALIER_CUDA_BACKEND STREQUAL toolkit)
        _espalier_register(${name}.gpu ${name} "${arg_NP}" gpu "ESPALIER_TEST_DEVICE=cuda")
    endif()
    set(environment "ESPALIER_TEST_DEVICE=cuda;ESPALIER_RIG_DEVICES=8")
    if(arg_ON_HOST_FILTER)
        list(APPEND environment "GTEST_FILTER=${arg_ON_HOST_FILTER}")
    endif()
    if(NOT arg_ON_HOST_NP)
        set(arg_ON_HOST_NP ${arg_NP})
    endif()
    _espalier_register(${name}.on_host ${on_host} "${arg_ON_HOST_NP}" "${arg_LABELS}" "${environment}")
endfunction()

# add_espalier_gpu_test(NAME SOURCES a.cpp ... [LINK targets ...])
#   a GoogleTest program for GPUs alone: label gpu, skipped where there is no device.
function(add_espalier_gpu_test name)
    cmake_parse_arguments(PARSE_ARGV 1 arg "" "" "SOURCES;LINK")
    if(arg_UNPARSED_ARGUMENTS)
        message(FATAL_ERROR "add_espalier_gpu_test(${name}): unknown words ${arg_UNPARSED_ARGUMENTS}")
    endif()
    add_executable(${name} ${arg_SOURCES})
    _espalier_test_program(${name} ${arg_LINK})
    _espalier_register(${name} ${name} "" gpu "ESPALIER_TEST_DEVICE=cuda")
endfunction()

# add_espalier_fuzzer(NAME SOURCES a.cpp ... [LINK targets ...])
#   one of libFuzzer's programs, and a test (label fuzz) that runs it for ESPALIER_FUZZ_SECONDS; nothing without
#   sanitizers, or with another compiler than clang.
function(add_espalier_fuzzer name)
    cmake_parse_arguments(PARSE_ARGV 1 arg "" "" "SOURCES;LINK")
    if(arg_UNPARSED_ARGUMENTS)
        message(FATAL_ERROR "add_espalier_fuzzer(${name}): unknown words ${arg_UNPARSED_ARGUMENTS}")
    endif()
    if(NOT ESPALIER_SANITIZE OR NOT CMAKE_CXX_COMPILER_ID STREQUAL Clang)
        return()
    endif()
    set(ESPALIER_FUZZ_SECONDS 20 CACHE STRING "How long ctest -L fuzz gives each harness")
    add_executable(${name} ${arg_SOURCES})
    target_link_libraries(${name} PRIVATE ${arg_LINK})
    target_link_options(${name} PRIVATE -fsanitize=fuzzer)
    add_test(NAME ${name} COMMAND ${name}
        -max_total_time=${ESPALIER_FUZZ_SECONDS} -timeout=5 -rss_limit_mb=1024 -malloc_limit_mb=64)
    set_tests_properties(${name} PROPERTIES LABELS fuzz)
endfunction()

function(_espalier_test_program target)
    target_link_libraries(${target} PRIVATE espalier_test_support ${ARGN})
    set_target_properties(${target} PROPERTIES RUNTIME_OUTPUT_DIRECTORY ${PROJECT_BINARY_DIR}/tests)
endfunction()

# One entry of ctest for each rank count of a list, or one for the program started alone.
function(_espalier_register test target ranks labels environment)
    if(ESPALIER_SANITIZE)
        set(test sanitized.${test})
    endif()
    if(NOT ranks)
        # Jobs are programs of several ranks; of other tests two run at once on two cores.
        set(processors 1)
        if(NOT labels STREQUAL unit)
            set(processors 2)
        endif()
        add_test(NAME ${test} COMMAND ${target})
        set_tests_properties(${test} PROPERTIES LABELS "${labels}" PROCESSORS ${processors} TIMEOUT 600 SKIP_RETURN_CODE 77
            ENVIRONMENT "${environment}")
        return()
    endif()
    foreach(np ${ranks})
        add_test(NAME ${test}.np${np}
            COMMAND ${MPIEXEC_EXECUTABLE} --allow-run-as-root --oversubscribe --bind-to none -n ${np} $<TARGET_FILE:${target}>)
        set_tests_properties(${test}.np${np} PROPERTIES LABELS "${labels}" PROCESSORS 2 TIMEOUT 900 SKIP_RETURN_CODE 77
            ENVIRONMENT "OMP_NUM_THREADS=1;${environment}")
    endforeach()
endfunction()
