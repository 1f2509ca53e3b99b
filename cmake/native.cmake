# Finds libllama and libggml: pkg-config first (the system's, or a user's own by PKG_CONFIG_PATH), else the private
# prefix that tools/deps makes. The private prefix carries its own C library, so programs linked to it start with its
# loader, and the host's older C library is never mixed in.
find_package(PkgConfig REQUIRED)
set(BATON_PREFIX ${CMAKE_SOURCE_DIR}/.deps/prefix)
if(EXISTS ${BATON_PREFIX}/made-from)
    set(ENV{PKG_CONFIG_PATH} "${BATON_PREFIX}/lib/pkgconfig:$ENV{PKG_CONFIG_PATH}")
    set(BATON_PRIVATE_PREFIX ON)
endif()
pkg_check_modules(LLAMA REQUIRED IMPORTED_TARGET llama ggml)

add_library(baton_native_libraries INTERFACE)
add_library(baton::native ALIAS baton_native_libraries)
target_link_libraries(baton_native_libraries INTERFACE PkgConfig::LLAMA)
if(BATON_PRIVATE_PREFIX)
    message(STATUS "libllama: private prefix ${BATON_PREFIX}")
else()
    message(STATUS "libllama: ${LLAMA_llama_LIBDIR} (version ${LLAMA_llama_VERSION})")
endif()

# How a program that contains baton_native is linked.
function(baton_program target)
    if(BATON_PRIVATE_PREFIX)
        target_link_options(${target} PRIVATE -Wl,--dynamic-linker=${BATON_PREFIX}/lib/ld-linux-x86-64.so.2
            -Wl,--disable-new-dtags -Wl,-rpath,${BATON_PREFIX}/lib -Wl,--allow-shlib-undefined)
        set_target_properties(${target} PROPERTIES SKIP_BUILD_RPATH ON)
    endif()
endfunction()
