# What stands behind --device cuda: nothing, the CUDA toolkit, or (for tests) this processor.
#   AUTO  ON where nvcc, cuBLASLt and NCCL are found, else OFF
#   ON    nvcc and the libraries; an error where they are missing
#   OFF   a build without device
#   HOST  the same sources compiled by the C++ compiler over tests/cuda_on_host: needs no toolkit, finds out-of-bounds
#         accesses, missing barriers and unwritten memory, and is far too slow for anything but tests
set(ESPALIER_CUDA AUTO CACHE STRING "CUDA back end: AUTO, ON, OFF, or HOST (on the processor, for tests)")
set_property(CACHE ESPALIER_CUDA PROPERTY STRINGS AUTO ON OFF HOST)
set(ESPALIER_CUDA_ARCHITECTURES "80;90;100" CACHE STRING "Compute capabilities to compile for: 80 (A100), 90 (H100), 100 (B200)")
if(NOT ESPALIER_CUDA MATCHES "^(AUTO|ON|OFF|HOST)$")
    message(FATAL_ERROR "ESPALIER_CUDA=${ESPALIER_CUDA}: choose AUTO, ON, OFF or HOST")
endif()

set(ESPALIER_CUDA_BACKEND none)
set(backend_facts "ESPALIER_CUDA=${ESPALIER_CUDA}") # in a few words, for people
if(ESPALIER_CUDA STREQUAL HOST)
    set(ESPALIER_CUDA_BACKEND host)
elseif(NOT ESPALIER_CUDA STREQUAL OFF)
    include(CheckLanguage)
    check_language(CUDA)
    if(CMAKE_CUDA_COMPILER)
        find_package(CUDAToolkit)
        find_path(NCCL_INCLUDE_DIR nccl.h HINTS ${CUDAToolkit_INCLUDE_DIRS} NO_CACHE)
        find_library(NCCL_LIBRARY nccl HINTS ${CUDAToolkit_LIBRARY_DIR} NO_CACHE)
    endif()
    if(TARGET CUDA::cublasLt AND NCCL_INCLUDE_DIR AND NCCL_LIBRARY)
        set(ESPALIER_CUDA_BACKEND toolkit)
        string(REPLACE ";" " " backend_facts "CUDA ${CUDAToolkit_VERSION}, compute capability ${ESPALIER_CUDA_ARCHITECTURES}")
        set(too_new ${ESPALIER_CUDA_ARCHITECTURES})
        list(FILTER too_new INCLUDE REGEX "^1[0-9][0-9]")
        if(too_new AND CUDAToolkit_VERSION VERSION_LESS 12.8)
            message(FATAL_ERROR "compute capability ${too_new} needs CUDA 12.8, and ${CMAKE_CUDA_COMPILER} is ${CUDAToolkit_VERSION}; "
                "load a newer toolkit, or leave those cards out: scripts/build release '-DESPALIER_CUDA_ARCHITECTURES=80;90'")
        endif()
        set(CMAKE_CUDA_ARCHITECTURES ${ESPALIER_CUDA_ARCHITECTURES})
        if(CCACHE)
            set(CMAKE_CUDA_COMPILER_LAUNCHER ${CCACHE})
        endif()
        enable_language(CUDA)
        # Debian 12's CMake (3.25) does not know how nvcc is told to compile C++20.
        if(NOT CMAKE_CUDA20_STANDARD_COMPILE_OPTION)
            set(CMAKE_CUDA20_STANDARD_COMPILE_OPTION -std=c++20)
            set(CMAKE_CUDA20_EXTENSION_COMPILE_OPTION -std=c++20)
        endif()
        set(CMAKE_CUDA_STANDARD 20)
        set(CMAKE_CUDA_STANDARD_REQUIRED ON)
        # fmt takes nvcc for a compiler without constexpr functions and then calls them in constant expressions.
        target_compile_definitions(espalier_flags INTERFACE $<$<COMPILE_LANGUAGE:CUDA>:FMT_USE_CONSTEXPR=1>)
    else()
        if(NOT CMAKE_CUDA_COMPILER)
            set(backend_facts "no nvcc in PATH")
        elseif(NOT TARGET CUDA::cublasLt)
            set(backend_facts "no cuBLASLt beside ${CMAKE_CUDA_COMPILER}")
        else()
            set(backend_facts "no NCCL; CMAKE_PREFIX_PATH is where it is looked for too")
        endif()
        if(ESPALIER_CUDA STREQUAL ON)
            message(FATAL_ERROR "ESPALIER_CUDA=ON needs nvcc, cuBLASLt and NCCL: ${backend_facts}; load the modules that have them, "
                "or configure with ESPALIER_CUDA=OFF")
        endif()
    endif()
endif()
message(STATUS "CUDA back end: ${ESPALIER_CUDA_BACKEND} (${backend_facts})")

if(ESPALIER_CUDA_BACKEND STREQUAL none)
    target_compile_definitions(espalier_flags INTERFACE ESPALIER_HAS_CUDA=false)
else()
    target_compile_definitions(espalier_flags INTERFACE ESPALIER_HAS_CUDA=true)
endif()

# The back end that an executable links: the toolkit's, or the processor's where its target property
# ESPALIER_ON_HOST says so. Everything above src/core is compiled once for both.
set(espalier_backend)
if(ESPALIER_CUDA_BACKEND STREQUAL host)
    set(espalier_backend espalier_cuda_on_host)
elseif(ESPALIER_CUDA_BACKEND STREQUAL toolkit)
    set(espalier_backend $<IF:$<BOOL:$<TARGET_PROPERTY:ESPALIER_ON_HOST>>,espalier_cuda_on_host,espalier_cuda>)
endif()

# Attention through cuDNN (adr/0016).
#   OFF   our own kernels alone
#   ON    cuDNN 9 and its header-only frontend; an error where they are missing
#   AUTO  ON where both are found beside the toolkit, in the system or under CMAKE_PREFIX_PATH, else OFF
set(ESPALIER_CUDNN AUTO CACHE STRING "Attention through cuDNN: AUTO, ON or OFF")
set_property(CACHE ESPALIER_CUDNN PROPERTY STRINGS AUTO ON OFF)
if(NOT ESPALIER_CUDNN MATCHES "^(AUTO|ON|OFF)$")
    message(FATAL_ERROR "ESPALIER_CUDNN=${ESPALIER_CUDNN}: choose AUTO, ON or OFF")
endif()
if(ESPALIER_CUDNN STREQUAL ON AND NOT ESPALIER_CUDA_BACKEND STREQUAL toolkit)
    message(FATAL_ERROR "ESPALIER_CUDNN=ON needs the CUDA back end of the toolkit (it is: ${ESPALIER_CUDA_BACKEND}); "
        "configure with ESPALIER_CUDA=ON too")
endif()
if(ESPALIER_CUDA_BACKEND STREQUAL toolkit)
    include(EspalierCudnn)
endif()
