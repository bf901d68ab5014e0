# Looks for cuDNN where ESPALIER_CUDNN wants it: espalier_cudnn_frontend is the library with its frontend's headers.
if(ESPALIER_CUDNN STREQUAL OFF)
    message(STATUS "Attention: own kernels (ESPALIER_CUDNN=ON asks cuDNN first)")
    return()
endif()

find_path(CUDNN_INCLUDE_DIR cudnn_version.h HINTS ${CUDAToolkit_INCLUDE_DIRS} NO_CACHE)
find_library(CUDNN_LIBRARY NAMES cudnn libcudnn.so.9 HINTS ${CUDAToolkit_LIBRARY_DIR} NO_CACHE)
find_path(CUDNN_FRONTEND_INCLUDE_DIR cudnn_frontend_version.h HINTS ${CUDAToolkit_INCLUDE_DIRS} NO_CACHE)

# Sets `out` to "major.minor" of a header's definitions, to 0 where there is no header.
function(espalier_version_in header prefix suffix out)
    set(version 0)
    if(EXISTS ${header})
        file(STRINGS ${header} lines REGEX "^#define ${prefix}(MAJOR|MINOR)${suffix} ")
        string(REGEX REPLACE "^[^;]* ([0-9]+);[^;]* ([0-9]+)$" "\\1.\\2" version "${lines}")
    endif()
    set(${out} ${version} PARENT_SCOPE)
endfunction()
espalier_version_in("${CUDNN_INCLUDE_DIR}/cudnn_version.h" CUDNN_ "" cudnn_version)
espalier_version_in("${CUDNN_FRONTEND_INCLUDE_DIR}/cudnn_frontend_version.h" CUDNN_FRONTEND_ _VERSION frontend_version)

if(CUDNN_LIBRARY AND cudnn_version VERSION_GREATER_EQUAL 9 AND frontend_version VERSION_GREATER_EQUAL 1.13)
    message(STATUS "Attention: cuDNN ${cudnn_version} (frontend ${frontend_version}), own kernels for what it leaves")
    add_library(espalier_cudnn_frontend INTERFACE)
    target_include_directories(espalier_cudnn_frontend SYSTEM INTERFACE ${CUDNN_INCLUDE_DIR} ${CUDNN_FRONTEND_INCLUDE_DIR})
    target_compile_definitions(espalier_cudnn_frontend INTERFACE CUDNN_FRONTEND_SKIP_JSON_LIB)
    # The frontend brings kernels of its own, which it compiles with NVRTC.
    target_link_libraries(espalier_cudnn_frontend INTERFACE ${CUDNN_LIBRARY} CUDA::nvrtc CUDA::cudart_static)
elseif(ESPALIER_CUDNN STREQUAL ON)
    message(FATAL_ERROR "ESPALIER_CUDNN=ON needs cuDNN 9 (found: ${CUDNN_LIBRARY}, headers of version ${cudnn_version}) and "
        "cudnn-frontend 1.13 or newer (found: ${frontend_version}), which NVIDIA packs as cudnn9-cuda-13 for systems and as "
        "nvidia-cudnn-cu13 and nvidia-cudnn-frontend for Python; say where they are with CMAKE_PREFIX_PATH (folders that "
        "have include and lib), or configure with ESPALIER_CUDNN=OFF")
else()
    message(STATUS "Attention: own kernels (no cuDNN 9 with a frontend of 1.13 or newer)")
endif()
