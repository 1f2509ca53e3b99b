# find_package(baton 0.1 REQUIRED); target_link_libraries(program PRIVATE baton::baton)
include(${CMAKE_CURRENT_LIST_DIR}/baton-targets.cmake)
