# A Clang for the preset tsa, the newest of those that are here: the analysis is Clang's alone, and later ones see more.
foreach(version 21 20 19 18 17 16 15 14)
    list(APPEND BATON_CLANG_NAMES clang-${version})
    list(APPEND BATON_CLANGXX_NAMES clang++-${version})
endforeach()
find_program(CMAKE_C_COMPILER NAMES ${BATON_CLANG_NAMES} clang REQUIRED)
find_program(CMAKE_CXX_COMPILER NAMES ${BATON_CLANGXX_NAMES} clang++ REQUIRED)
