# Finds libllama and libggml: the private prefix that tools/deps made if it said so, else pkg-config's (the system's, or
# a user's own by PKG_CONFIG_PATH). The private prefix carries its own C library, so programs linked to it start with
# its loader, and the host's older C library is never mixed in.
find_package(PkgConfig REQUIRED)
set(BATON_PREFIX ${CMAKE_SOURCE_DIR}/.deps/prefix)
set(BATON_PRIVATE_PREFIX OFF)
if(EXISTS ${BATON_PREFIX}/made-from)
    set(BATON_PRIVATE_PREFIX ON)
    if(EXISTS ${CMAKE_SOURCE_DIR}/.deps/native)
        file(STRINGS ${CMAKE_SOURCE_DIR}/.deps/native BATON_NATIVE_KIND)
        if(BATON_NATIVE_KIND STREQUAL "system")
            set(BATON_PRIVATE_PREFIX OFF)
        endif()
    endif()
endif()
if(BATON_PRIVATE_PREFIX)
    set(ENV{PKG_CONFIG_PATH} "${BATON_PREFIX}/lib/pkgconfig:$ENV{PKG_CONFIG_PATH}")
endif()
pkg_check_modules(LLAMA IMPORTED_TARGET llama ggml)
if(NOT LLAMA_FOUND)
    message(FATAL_ERROR "libllama and libggml were not found. tools/deps brings them (make runs it), or set "
        "PKG_CONFIG_PATH to a build of your own.")
endif()

add_library(baton_native_libraries INTERFACE)
add_library(baton::native ALIAS baton_native_libraries)
target_link_libraries(baton_native_libraries INTERFACE PkgConfig::LLAMA)

# Speech recognition is there if libwhisper is. Before 1.9.5 the draws of a state depended on what it had drawn before.
set(BATON_WHISPER_SOURCES src/native/whisper.c src/native/whisper_file.c src/native/whisper_full.c
    src/native/whisper_state.c)
pkg_check_modules(LIBWHISPER IMPORTED_TARGET whisper>=1.9.5)
if(LIBWHISPER_FOUND)
    target_link_libraries(baton_native_libraries INTERFACE PkgConfig::LIBWHISPER)
    set_source_files_properties(src/native/whisper_none.c PROPERTIES HEADER_FILE_ONLY ON)
    string(REPLACE "-dev" "" BATON_WHISPER_VERSION ${LIBWHISPER_VERSION}) # Debian's release calls itself so
    pkg_get_variable(BATON_WHISPER_INCLUDE whisper includedir)
else()
    set_source_files_properties(${BATON_WHISPER_SOURCES} PROPERTIES HEADER_FILE_ONLY ON)
    message(STATUS "libwhisper 1.9.5 or later was not found: this build has no speech recognition")
endif()

# Images are there if libmtmd is, in the form that it has had since 0.7.0: its interface calls itself experimental, so
# what is used of it is looked for.
find_library(BATON_MTMD mtmd HINTS ${LLAMA_llama_LIBDIR})
find_path(BATON_MTMD_INCLUDE mtmd-helper.h HINTS ${LLAMA_llama_INCLUDEDIR})
set(BATON_VISION OFF)
if(BATON_MTMD AND BATON_MTMD_INCLUDE)
    file(READ ${BATON_MTMD_INCLUDE}/mtmd.h mtmd_header)
    file(READ ${BATON_MTMD_INCLUDE}/mtmd-helper.h mtmd_helper_header)
    if(mtmd_header MATCHES "mtmd_tokenize_from_parts" AND mtmd_helper_header MATCHES "mtmd_helper_post_decode_callback" AND
        mtmd_helper_header MATCHES "ffmpeg_bin_dir")
        set(BATON_VISION ON)
    endif()
endif()
if(BATON_VISION)
    target_link_libraries(baton_native_libraries INTERFACE ${BATON_MTMD})
    target_include_directories(baton_native_libraries INTERFACE ${BATON_MTMD_INCLUDE})
    set_source_files_properties(src/native/llama_vision_none.c PROPERTIES HEADER_FILE_ONLY ON)
else()
    set_source_files_properties(src/native/llama_vision.c PROPERTIES HEADER_FILE_ONLY ON)
    message(STATUS "libmtmd of libllama 0.7.0 or later was not found: this build reads text alone")
endif()
# Image generation is there if libstable-diffusion is, with the functions that are used of it. It is not linked: what is
# built with a libggml of its own must not meet libllama's (src/native/sd.c).
pkg_check_modules(SD QUIET stable-diffusion)
find_path(BATON_SD_INCLUDE stable-diffusion.h HINTS ${SD_INCLUDEDIR} ${SD_INCLUDE_DIRS})
find_library(BATON_SD_FILE stable-diffusion HINTS ${SD_LIBDIR} ${SD_LIBRARY_DIRS})
set(BATON_SD OFF)
if(BATON_SD_INCLUDE AND BATON_SD_FILE)
    set(CMAKE_TRY_COMPILE_TARGET_TYPE STATIC_LIBRARY)
    try_compile(BATON_SD_FITS ${CMAKE_BINARY_DIR}/sd SOURCES ${CMAKE_SOURCE_DIR}/src/native/sd.c
        CMAKE_FLAGS "-DINCLUDE_DIRECTORIES=${BATON_SD_INCLUDE};${CMAKE_SOURCE_DIR}/src;${CMAKE_SOURCE_DIR}/include"
        COMPILE_DEFINITIONS -D_GNU_SOURCE "-DBATON_SD_LIBRARY=\"\"" "-DBATON_SD_VERSION=\"\"")
    unset(CMAKE_TRY_COMPILE_TARGET_TYPE)
    set(BATON_SD ${BATON_SD_FITS})
    if(NOT BATON_SD)
        message(STATUS "libstable-diffusion is another version than the binding is for: this build draws no images")
    endif()
endif()
if(BATON_SD)
    set_source_files_properties(src/native/sd_none.c PROPERTIES HEADER_FILE_ONLY ON)
    if(NOT SD_VERSION)
        set(SD_VERSION "unknown")
    endif()
    set_source_files_properties(src/native/sd.c PROPERTIES INCLUDE_DIRECTORIES ${BATON_SD_INCLUDE} COMPILE_DEFINITIONS
        "BATON_SD_LIBRARY=\"${BATON_SD_FILE}\";BATON_SD_VERSION=\"${SD_VERSION}\"")
else()
    set_source_files_properties(src/native/sd.c PROPERTIES HEADER_FILE_ONLY ON)
endif()
if(BATON_PRIVATE_PREFIX)
    message(STATUS "libllama ${LLAMA_llama_VERSION}: private prefix ${BATON_PREFIX}")
    install(CODE "message(STATUS \"note: this build runs with the libraries in ${BATON_PREFIX}, also once installed: keep \
that folder. For packages, build against a system libllama.\")")
else()
    message(STATUS "libllama ${LLAMA_llama_VERSION}: ${LLAMA_llama_LIBDIR}")
endif()

# A program that uses libbaton starts with the C library that its native libraries need, or does not start.
set(BATON_USER_LINK_OPTIONS)
if(BATON_PRIVATE_PREFIX)
    set(BATON_USER_LINK_OPTIONS -Wl,--dynamic-linker=${BATON_PREFIX}/lib/ld-linux-x86-64.so.2 -Wl,--disable-new-dtags
        -Wl,-rpath,${BATON_PREFIX}/lib -Wl,--allow-shlib-undefined)
endif()

# How a program that contains baton_native is linked.
function(baton_program target)
    if(BATON_PRIVATE_PREFIX)
        target_link_options(${target} PRIVATE ${BATON_USER_LINK_OPTIONS})
        set_target_properties(${target} PROPERTIES SKIP_BUILD_RPATH ON)
    endif()
endfunction()
