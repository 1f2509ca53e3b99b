# What is installed, how other builds find it (pkg-config, find_package), and the Debian package.
list(JOIN BATON_USER_LINK_OPTIONS " " BATON_PC_LINK_OPTIONS)
configure_file(cmake/baton.pc.in baton.pc @ONLY)
include(CMakePackageConfigHelpers)
set(BATON_CMAKE_DIR ${CMAKE_INSTALL_LIBDIR}/cmake/baton)
configure_file(cmake/baton-config.cmake baton-config.cmake COPYONLY)
write_basic_package_version_file(${CMAKE_BINARY_DIR}/baton-config-version.cmake COMPATIBILITY SameMinorVersion)

install(TARGETS baton)
install(TARGETS baton-owner DESTINATION ${BATON_LIBEXEC_DIR})
install(TARGETS libbaton EXPORT baton-targets)
install(EXPORT baton-targets NAMESPACE baton:: DESTINATION ${BATON_CMAKE_DIR})
install(FILES ${CMAKE_BINARY_DIR}/baton-config.cmake ${CMAKE_BINARY_DIR}/baton-config-version.cmake
    DESTINATION ${BATON_CMAKE_DIR})
# `cmake --install --prefix` says where only now.
install(CODE "
    file(READ \"${CMAKE_BINARY_DIR}/baton.pc\" text)
    string(REGEX REPLACE \"^prefix=[^\n]*\" \"prefix=\${CMAKE_INSTALL_PREFIX}\" text \"\${text}\")
    file(WRITE \"${CMAKE_BINARY_DIR}/baton.pc\" \"\${text}\")")
install(FILES ${CMAKE_BINARY_DIR}/baton.pc DESTINATION ${CMAKE_INSTALL_LIBDIR}/pkgconfig)
install(DIRECTORY include/baton DESTINATION ${CMAKE_INSTALL_INCLUDEDIR})
install(FILES models/baton-tiny-q8_0.gguf models/MODEL_CARD.md DESTINATION ${CMAKE_INSTALL_DATADIR}/baton)
install(FILES docs/baton.1 DESTINATION ${CMAKE_INSTALL_MANDIR}/man1)
install(FILES docs/baton.ini.5 DESTINATION ${CMAKE_INSTALL_MANDIR}/man5)
file(GLOB baton_man3 CONFIGURE_DEPENDS docs/*.3)
install(FILES ${baton_man3} DESTINATION ${CMAKE_INSTALL_MANDIR}/man3)
install(FILES LICENSE README.md CHANGELOG.md SECURITY.md DESTINATION ${CMAKE_INSTALL_DOCDIR})
file(GLOB baton_guides CONFIGURE_DEPENDS docs/*.md)
install(FILES ${baton_guides} DESTINATION ${CMAKE_INSTALL_DOCDIR})
install(DIRECTORY examples DESTINATION ${CMAKE_INSTALL_DOCDIR} PATTERN __pycache__ EXCLUDE)

# One package for the command, the library and its headers: the ABI is 0.x and changes with each minor version, so
# nothing is won by letting two versions stand side by side.
set(CPACK_GENERATOR DEB)
set(CPACK_PACKAGE_VENDOR baton)
set(CPACK_PACKAGE_CONTACT "the baton authors <baton@localhost>")
set(CPACK_PACKAGE_DESCRIPTION_SUMMARY "${PROJECT_DESCRIPTION}")
set(CPACK_PACKAGE_DESCRIPTION "Many callers, few native inference contexts, every answer right: a library, a command \
and a server that speaks OpenAI's API.")
set(CPACK_PACKAGING_INSTALL_PREFIX /usr)
set(CPACK_STRIP_FILES ON)
set(CPACK_DEBIAN_FILE_NAME DEB-DEFAULT)
set(CPACK_DEBIAN_PACKAGE_SECTION libs)
set(CPACK_DEBIAN_PACKAGE_SUGGESTS libllama-dev)
if(BATON_PRIVATE_PREFIX)
    set(CPACK_DEBIAN_PACKAGE_SHLIBDEPS OFF) # it would find the host's C library, which is not the one it runs with
else()
    set(CPACK_DEBIAN_PACKAGE_SHLIBDEPS ON)
    set(CPACK_DEBIAN_PACKAGE_GENERATE_SHLIBS ON)
endif()
configure_file(cmake/package-check.cmake.in package-check.cmake @ONLY)
set(CPACK_PROJECT_CONFIG_FILE ${CMAKE_BINARY_DIR}/package-check.cmake)
include(CPack)
