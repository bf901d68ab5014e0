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

# add_espalier_test(NAME SOURCES a.cpp ... [LINK targets ...] [NP 1 2 4] [LABELS mpi ...])
#   builds one GoogleTest program and registers it once for each rank count in NP (none: started alone). The names
#   of tests under sanitizers begin with "sanitized.", so that one ctest can run both builds; a fuzzing build has
#   only its fuzzers.
function(add_espalier_test name)
    cmake_parse_arguments(PARSE_ARGV 1 arg "" "" "SOURCES;LINK;NP;LABELS")
    if(arg_UNPARSED_ARGUMENTS)
        message(FATAL_ERROR "add_espalier_test(${name}): unknown words ${arg_UNPARSED_ARGUMENTS}")
    endif()
    if(NOT arg_LABELS)
        set(arg_LABELS unit)
    endif()
    add_executable(${name} ${arg_SOURCES})
    target_link_libraries(${name} PRIVATE espalier_test_support ${arg_LINK})
    # GCC 12 warns of overlaps in std::string's own code at -O3 (GCC bug 105651).
    target_compile_options(${name} PRIVATE $<$<CXX_COMPILER_ID:GNU>:-Wno-restrict>)
    set_target_properties(${name} PROPERTIES RUNTIME_OUTPUT_DIRECTORY ${PROJECT_BINARY_DIR}/tests)
    if(ESPALIER_FUZZ)
        return()
    endif()
    set(test ${name})
    if(ESPALIER_SANITIZE)
        set(test sanitized.${name})
    endif()
    if(NOT arg_NP)
        add_test(NAME ${test} COMMAND ${name})
        set_tests_properties(${test} PROPERTIES LABELS "${arg_LABELS}" PROCESSORS 2 TIMEOUT 600)
        return()
    endif()
    foreach(np ${arg_NP})
        add_test(NAME ${test}.np${np}
            COMMAND ${MPIEXEC_EXECUTABLE} --allow-run-as-root --oversubscribe --bind-to none -n ${np} $<TARGET_FILE:${name}>)
        set_tests_properties(${test}.np${np} PROPERTIES LABELS "${arg_LABELS}" PROCESSORS 2 TIMEOUT 900
            ENVIRONMENT "OMP_NUM_THREADS=1")
    endforeach()
endfunction()
