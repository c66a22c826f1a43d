# Language level, warnings, sanitizers, compiler cache: what is the same for every target.
set(CMAKE_CXX_STANDARD 23)
set(CMAKE_CXX_STANDARD_REQUIRED ON)
set(CMAKE_CXX_EXTENSIONS OFF)
set(CMAKE_C_STANDARD 11)
set(CMAKE_C_STANDARD_REQUIRED ON)
set(CMAKE_C_EXTENSIONS ON)
# The same for libraries and programs, so that all can use one precompiled header.
add_compile_options(-fPIC)
set(CMAKE_EXPORT_COMPILE_COMMANDS ON)
set(CMAKE_RUNTIME_OUTPUT_DIRECTORY "${CMAKE_BINARY_DIR}/bin")
set(CMAKE_LIBRARY_OUTPUT_DIRECTORY "${CMAKE_BINARY_DIR}/lib")
set(SLUICE_CONNECTOR_DIR "${CMAKE_BINARY_DIR}/connectors")

if(NOT CMAKE_BUILD_TYPE)
  set(CMAKE_BUILD_TYPE RelWithDebInfo CACHE STRING "" FORCE)
endif()

option(SLUICE_FAILPOINTS "Places where tests let the host crash (SLUICE_FAILPOINTS=…); a package has none" ON)
if(NOT SLUICE_FAILPOINTS)
  add_compile_definitions(SLUICE_NO_FAILPOINTS)
endif()

set(SLUICE_SANITIZE "" CACHE STRING "Sanitizers, as GCC names them: address,undefined or thread")
option(SLUICE_WERROR "Warnings are errors (the ci preset)" OFF)

find_program(SLUICE_CCACHE ccache)
if(SLUICE_CCACHE)
  set(CMAKE_C_COMPILER_LAUNCHER "${SLUICE_CCACHE}")
  # Precompiled headers and ccache agree only with these (ccache manual, "Precompiled headers").
  set(CMAKE_CXX_COMPILER_LAUNCHER "${CMAKE_COMMAND}" -E env
      CCACHE_SLOPPINESS=pch_defines,time_macros,include_file_mtime,include_file_ctime
      "${SLUICE_CCACHE}")
endif()

# What makes a fault of ours harder to use, in everything that is built without sanitizers (which do more, and do
# not go with some of it). packaging/check-hardening.sh looks whether it arrived.
if(NOT SLUICE_SANITIZE)
  include(CheckCXXCompilerFlag)
  foreach(flag -fstack-protector-strong -fstack-clash-protection -fcf-protection)
    string(MAKE_C_IDENTIFIER "SLUICE_HAS${flag}" has)
    check_cxx_compiler_flag(${flag} ${has})  # the last one is for x86 alone
    if(${has})
      add_compile_options(${flag})
    endif()
  endforeach()
  # Level 3 needs GCC 12 or Clang 9, and glibc 2.34; it counts with optimisation only.
  add_compile_options($<$<NOT:$<CONFIG:Debug>>:-U_FORTIFY_SOURCE> $<$<NOT:$<CONFIG:Debug>>:-D_FORTIFY_SOURCE=3>)
  add_link_options(-Wl,-z,relro -Wl,-z,now -Wl,-z,noexecstack
    $<$<STREQUAL:$<TARGET_PROPERTY:TYPE>,EXECUTABLE>:-pie>)
endif()

# Carried by every target of ours through sluice_warnings / sluice_sanitizers (INTERFACE libraries).
add_library(sluice_warnings INTERFACE)
target_compile_options(sluice_warnings INTERFACE
  -Wall -Wextra -Wpedantic -Wshadow -Wconversion -Wno-sign-conversion
  $<$<COMPILE_LANGUAGE:CXX>:-Wnon-virtual-dtor>
  # GCC 12 takes Asio's coroutine frames for mismatched (a false positive: AddressSanitizer sees them matched).
  $<$<COMPILE_LANG_AND_ID:CXX,GNU>:-Wno-mismatched-new-delete>
  $<$<BOOL:${SLUICE_WERROR}>:-Werror>)

add_library(sluice_sanitizers INTERFACE)
if(SLUICE_SANITIZE)
  target_compile_options(sluice_sanitizers INTERFACE -fsanitize=${SLUICE_SANITIZE}
    -fno-omit-frame-pointer -fno-sanitize-recover=all)
  target_link_options(sluice_sanitizers INTERFACE -fsanitize=${SLUICE_SANITIZE})
endif()

# Behind sluice_sanitizers, for the code of tests, fakes and benches alone: without the checks of each member access,
# which are a third of what compiling it costs. AddressSanitizer stops at a null pointer all the same; the host, the
# SDK and the connectors keep every check.
add_library(sluice_test_sanitizers INTERFACE)
if(SLUICE_SANITIZE MATCHES "undefined")
  target_compile_options(sluice_test_sanitizers INTERFACE -fno-sanitize=null,alignment,vptr,object-size)
endif()
