# sluice_module(NAME <folder> [DEPENDS <module>...] [LIBRARIES <target>...] [HEADER_LIBRARIES <target>...] SOURCES <file>...)
#   One static library per folder of host/. DEPENDS are other modules: their headers may be included
#   (tests/manners holds includes against this list). LIBRARIES are third-party targets used in sources only;
#   HEADER_LIBRARIES appear in our own headers and are passed on.
function(sluice_module)
  cmake_parse_arguments(M "" "NAME" "DEPENDS;LIBRARIES;HEADER_LIBRARIES;SOURCES" ${ARGN})
  set(target sluice_${M_NAME})
  add_library(${target} STATIC ${M_SOURCES})
  add_library(sluice::${M_NAME} ALIAS ${target})
  target_include_directories(${target} PUBLIC "${PROJECT_SOURCE_DIR}/host")
  list(TRANSFORM M_DEPENDS PREPEND sluice_ OUTPUT_VARIABLE depends)
  target_link_libraries(${target}
    PUBLIC ${depends} ${M_HEADER_LIBRARIES} sluice_sanitizers
    PRIVATE ${M_LIBRARIES} sluice_warnings)
  sluice_precompile(${target})
  set_property(GLOBAL APPEND PROPERTY SLUICE_MODULE_DEPENDS "${M_NAME}:${M_DEPENDS}")
endfunction()

# The heavy third-party and standard headers, compiled once for everything of ours, and once more, with
# GoogleTest's, for tests. Half of what a small source costs was JSON's templates, made anew in each: the header
# declares them, and the library that carries it has them.
add_library(sluice_precompiled STATIC "${PROJECT_SOURCE_DIR}/cmake/precompiled.cpp")
target_link_libraries(sluice_precompiled PUBLIC Boost::headers Threads::Threads fmt::fmt
  nlohmann_json::nlohmann_json PRIVATE sluice_sanitizers sluice_warnings)
target_precompile_headers(sluice_precompiled PRIVATE "${PROJECT_SOURCE_DIR}/cmake/precompiled.hpp")

add_library(sluice_precompiled_tests STATIC "${PROJECT_SOURCE_DIR}/cmake/precompiled_tests.cpp")
target_link_libraries(sluice_precompiled_tests PUBLIC sluice_precompiled GTest::gtest GTest::gmock
  PRIVATE sluice_sanitizers sluice_test_sanitizers sluice_warnings)
target_compile_definitions(sluice_precompiled_tests PRIVATE FMT_SHARED)
target_precompile_headers(sluice_precompiled_tests PRIVATE "${PROJECT_SOURCE_DIR}/cmake/precompiled_tests.hpp")

function(sluice_precompile target)
  target_compile_definitions(${target} PRIVATE FMT_SHARED)  # as the header was compiled
  target_link_libraries(${target} PRIVATE sluice_precompiled)
  target_precompile_headers(${target} REUSE_FROM sluice_precompiled)
endfunction()

# For what only tests and benches are made of.
function(sluice_precompile_test target)
  target_compile_definitions(${target} PRIVATE FMT_SHARED)
  target_link_libraries(${target} PRIVATE sluice_precompiled_tests sluice_test_sanitizers)
  target_precompile_headers(${target} REUSE_FROM sluice_precompiled_tests)
endfunction()

# sluice_test(NAME <name> LABEL unit|pg|plugins|replay|e2e|manners [DEPENDS <module>...] [LIBRARIES <target>...] SOURCES <file>...)
#   One GoogleTest program, with gmock's main unless it has its own; it is one ctest test.
function(sluice_test)
  cmake_parse_arguments(T "" "NAME;LABEL;TIMEOUT" "DEPENDS;LIBRARIES;SOURCES" ${ARGN})
  add_executable(${T_NAME} ${T_SOURCES})
  list(TRANSFORM T_DEPENDS PREPEND sluice_ OUTPUT_VARIABLE depends)
  target_link_libraries(${T_NAME} PRIVATE ${depends} ${T_LIBRARIES} GTest::gtest GTest::gmock
    GTest::gmock_main sluice_sanitizers sluice_warnings)
  target_include_directories(${T_NAME} PRIVATE "${PROJECT_SOURCE_DIR}/tests" "${PROJECT_SOURCE_DIR}/host")
  target_compile_definitions(${T_NAME} PRIVATE
    SLUICE_SOURCE_DIR="${PROJECT_SOURCE_DIR}" SLUICE_BINARY_DIR="${CMAKE_BINARY_DIR}"
    SLUICE_CONNECTOR_DIR="${SLUICE_CONNECTOR_DIR}")
  sluice_precompile_test(${T_NAME})
  if(NOT T_TIMEOUT)
    set(T_TIMEOUT 120)
  endif()
  add_test(NAME ${T_LABEL}.${T_NAME} COMMAND ${T_NAME})
  set_tests_properties(${T_LABEL}.${T_NAME} PROPERTIES LABELS ${T_LABEL} TIMEOUT ${T_TIMEOUT})
  if(T_LABEL MATCHES "^(pg|replay|e2e)$")
    # The shared server of tests/support: started before the first of these tests, stopped after the last.
    set_tests_properties(${T_LABEL}.${T_NAME} PROPERTIES FIXTURES_REQUIRED pg_cluster)
  endif()
endfunction()
