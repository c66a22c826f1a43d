# sluice_add_connector(NAME <name> MANIFEST <manifest.json> SOURCES <file>... [LIBRARIES <target>...]
#                      [REQUIRED_MINOR <n>] [OUTPUT_DIRECTORY <dir>] [UNCHECKED])
#
# Builds <name>.so, a connector as a Sluice host admits it:
#   · exports one symbol, sluice_connector_v1 (version script, hidden visibility, no unique symbols)   SLP-L02
#   · needs libc only: libstdc++ and libgcc are linked in (not with sanitizers, which need the shared ones)
#   · carries manifest.json in an ELF note that survives --gc-sections, LTO and strip                 SLP-L01
#   · is not built by GCC below 13 while a coroutine in it has a shape that this compiler breaks, which it names by
#     file and line (SluiceCoroutineShapes.cmake)
#   · is looked at as a host looks at it before loading it (sluice-check-connector: the file and the manifest, by the
#     host's own code), and is not built when a host would refuse it; the place in the manifest is named. Not so with
#     UNCHECKED, with -DSLUICE_CHECK_CONNECTORS=OFF, or where the build is for another machine
#   · sources may include "<name>_manifest.hpp": the manifest's types, attributes, hosts and auth slots as numbers
#
# Works in this repository and, installed, in anybody's:
#   find_package(SluicePlugin REQUIRED)
#   sluice_add_connector(NAME acme MANIFEST manifest.json SOURCES connector.cpp)
# The target is called connector_<name>. The file goes to OUTPUT_DIRECTORY, else SLUICE_CONNECTOR_DIR, else
# <build>/connectors.
#
# Run as a script (cmake -P) this file writes the two generated sources; see the end.

if(NOT CMAKE_SCRIPT_MODE_FILE)
  include_guard(GLOBAL)
  set_property(GLOBAL PROPERTY SLUICE_CONNECTOR_SCRIPT "${CMAKE_CURRENT_LIST_FILE}")
  option(SLUICE_CHECK_CONNECTORS "Look at each connector that is built as a host would" ON)

  # Has what `target` makes looked at. Within Sluice's own tree the program is built first; elsewhere it lies beside the
  # installed package, and where it does not a word says so.
  function(sluice_check_connector_file target)
    if(NOT SLUICE_CHECK_CONNECTORS OR CMAKE_CROSSCOMPILING)
      return()
    endif()
    if(TARGET sluice_check_connector)
      set(checker sluice_check_connector)
    else()
      get_property(script GLOBAL PROPERTY SLUICE_CONNECTOR_SCRIPT)
      get_filename_component(prefix "${script}" DIRECTORY)
      find_program(SLUICE_CHECK_CONNECTOR sluice-check-connector
        HINTS "${prefix}/../../../bin" "${prefix}/../../../../bin")
      if(NOT SLUICE_CHECK_CONNECTOR)
        message(STATUS "sluice-check-connector was not found: what is built is not looked at")
        return()
      endif()
      set(checker "${SLUICE_CHECK_CONNECTOR}")
    endif()
    add_custom_command(TARGET ${target} POST_BUILD COMMAND "${checker}" "$<TARGET_FILE:${target}>" VERBATIM)
  endfunction()

  # Makes `stamp` of sources whose coroutines GCC 12 compiles rightly, anew whenever one of them or of what they include
  # changes.
  function(sluice_check_coroutines stamp)
    set(files)
    foreach(source IN LISTS ARGN)
      get_filename_component(source "${source}" ABSOLUTE)
      if(source MATCHES "[.](cc|cpp|cxx|C)$" AND EXISTS "${source}")
        list(APPEND files "${source}")
      endif()
    endforeach()
    list(JOIN files "|" sources)
    get_property(script GLOBAL PROPERTY SLUICE_CONNECTOR_SCRIPT)
    get_filename_component(folder "${script}" DIRECTORY)
    add_custom_command(
      OUTPUT "${stamp}"
      COMMAND "${CMAKE_COMMAND}" "-DSOURCES=${sources}" "-DSTAMP=${stamp}" -P "${folder}/SluiceCoroutineShapes.cmake"
      DEPENDS ${files} "${folder}/SluiceCoroutineShapes.cmake"
      DEPFILE "${stamp}.d"
      COMMENT "Looking at the coroutines of ${C_NAME}"
      VERBATIM)
  endfunction()

  function(sluice_add_connector)
    cmake_parse_arguments(C "UNCHECKED" "NAME;MANIFEST;REQUIRED_MINOR;OUTPUT_DIRECTORY" "SOURCES;LIBRARIES" ${ARGN})
    if(NOT C_NAME OR NOT C_MANIFEST OR NOT C_SOURCES)
      message(FATAL_ERROR "sluice_add_connector: NAME, MANIFEST and SOURCES are needed")
    endif()
    if(C_UNPARSED_ARGUMENTS)
      message(FATAL_ERROR "sluice_add_connector(${C_NAME}): does not know ${C_UNPARSED_ARGUMENTS}")
    endif()
    if(NOT C_REQUIRED_MINOR)
      set(C_REQUIRED_MINOR 0)
    endif()
    if(NOT C_OUTPUT_DIRECTORY)
      set(C_OUTPUT_DIRECTORY "${SLUICE_CONNECTOR_DIR}")
    endif()
    if(NOT C_OUTPUT_DIRECTORY)
      set(C_OUTPUT_DIRECTORY "${CMAKE_BINARY_DIR}/connectors")
    endif()
    get_filename_component(manifest "${C_MANIFEST}" ABSOLUTE)
    get_property(script GLOBAL PROPERTY SLUICE_CONNECTOR_SCRIPT)

    set(generated "${CMAKE_CURRENT_BINARY_DIR}/${C_NAME}_generated")
    set(note "${generated}/${C_NAME}_note.cpp")
    set(numbers "${generated}/${C_NAME}_manifest.hpp")
    add_custom_command(
      OUTPUT "${note}" "${numbers}"
      COMMAND "${CMAKE_COMMAND}" "-DMANIFEST=${manifest}" "-DNOTE=${note}" "-DNUMBERS=${numbers}"
              "-DREQUIRED_MINOR=${C_REQUIRED_MINOR}" -P "${script}"
      DEPENDS "${manifest}" "${script}"
      COMMENT "Manifest of connector ${C_NAME}"
      VERBATIM)
    set(exports "${generated}/exports.map")
    file(CONFIGURE OUTPUT "${exports}" CONTENT
      "{\n  global: sluice_connector_v1;\n  local: *;\n};\n")

    set(target "connector_${C_NAME}")
    set(shapes)
    if(CMAKE_CXX_COMPILER_ID STREQUAL "GNU" AND CMAKE_CXX_COMPILER_VERSION VERSION_LESS 13)
      set(shapes "${generated}/coroutine_shapes")
      sluice_check_coroutines("${shapes}" ${C_SOURCES})
    endif()
    add_library(${target} MODULE ${C_SOURCES} "${note}" "${numbers}" ${shapes})
    set_source_files_properties("${note}" PROPERTIES OBJECT_DEPENDS "${manifest}" COMPILE_OPTIONS "-fno-lto")
    set_target_properties(${target} PROPERTIES
      OUTPUT_NAME "${C_NAME}" PREFIX "" SUFFIX ".so"
      LIBRARY_OUTPUT_DIRECTORY "${C_OUTPUT_DIRECTORY}"
      POSITION_INDEPENDENT_CODE ON
      C_VISIBILITY_PRESET hidden CXX_VISIBILITY_PRESET hidden VISIBILITY_INLINES_HIDDEN ON
      BUILD_RPATH "" INSTALL_RPATH "" SKIP_BUILD_RPATH ON
      LINK_DEPENDS "${exports}")
    target_include_directories(${target} PRIVATE "${generated}")
    target_compile_features(${target} PRIVATE cxx_std_20)
    target_compile_definitions(${target} PRIVATE SLUICE_CONNECTOR_REQUIRED_MINOR=${C_REQUIRED_MINOR})
    target_compile_options(${target} PRIVATE
      $<$<COMPILE_LANG_AND_ID:CXX,GNU>:-fno-gnu-unique> -ffunction-sections -fdata-sections)
    target_link_options(${target} PRIVATE
      "-Wl,--version-script=${exports}" -Wl,-z,now -Wl,-z,relro -Wl,-z,noexecstack
      -Wl,--exclude-libs,ALL -Wl,--as-needed -Wl,--gc-sections)
    if(NOT SLUICE_SANITIZE)
      target_link_options(${target} PRIVATE -static-libstdc++ -static-libgcc -Wl,-z,defs)
    endif()
    target_link_libraries(${target} PRIVATE sluice::sdk ${C_LIBRARIES})
    foreach(ours sluice_warnings sluice_sanitizers)
      if(TARGET ${ours})
        target_link_libraries(${target} PRIVATE ${ours})
      endif()
    endforeach()
    if(NOT C_UNCHECKED)
      sluice_check_connector_file(${target})
    endif()
  endfunction()
  return()
endif()

# ---- as a script: MANIFEST -> NOTE (the ELF note) and NUMBERS (constants) ------------------------------------------
cmake_minimum_required(VERSION 3.21)

function(numbers_of array name_space out)
  string(JSON count ERROR_VARIABLE missing LENGTH "${json}" ${array})
  if(missing)
    set(count 0)
  endif()
  set(text "namespace ${name_space} {\n")
  if(count GREATER 0)
    math(EXPR last "${count} - 1")
    foreach(i RANGE ${last})
      string(JSON name GET "${json}" ${array} ${i} name)
      identifier("${name}" name)
      string(APPEND text "inline constexpr std::uint32_t ${name} = ${i};\n")
    endforeach()
  endif()
  set(${out} "${text}}\n" PARENT_SCOPE)
endfunction()

function(identifier name out)
  string(MAKE_C_IDENTIFIER "${name}" name)
  set(keywords auto bool break case catch char class const continue default delete do double else enum explicit
      export extern false float for friend goto if inline int long mutable namespace new operator private
      protected public register return short signed sizeof static struct switch template this throw true try
      typedef typename union unsigned using virtual void volatile while concept requires)
  if(name IN_LIST keywords)
    string(APPEND name "_")
  endif()
  set(${out} "${name}" PARENT_SCOPE)
endfunction()

file(READ "${MANIFEST}" json)
file(SIZE "${MANIFEST}" size)
if(size GREATER 262144)
  message(FATAL_ERROR "${MANIFEST} has ${size} bytes; a manifest may have 262144 (SLUICE_MANIFEST_BYTES_MAX)")
endif()
string(JSON id ERROR_VARIABLE broken GET "${json}" id)
if(broken)
  message(FATAL_ERROR "${MANIFEST} is no manifest: ${broken}")
endif()

# Words of a later minor: an older host refuses the whole manifest for one that it does not know.
set(words_1_1)
if(json MATCHES "\"enumerates\"[ \n\r\t]*:")
  list(APPEND words_1_1 "streams[].enumerates")
endif()
string(JSON rate_headers ERROR_VARIABLE missing GET "${json}" rate_budget headers)
if(NOT missing)
  list(APPEND words_1_1 "rate_budget.headers")
endif()
if(words_1_1 AND REQUIRED_MINOR LESS 1)
  list(JOIN words_1_1 " and " words_1_1)
  message(FATAL_ERROR "${MANIFEST} uses ${words_1_1}, which came with minor 1 of the contract: say REQUIRED_MINOR 1 in "
    "sluice_add_connector()")
endif()

set(words_1_3)
if(json MATCHES "\"currency\"[ \n\r\t]*:[ \n\r\t]*\"")
  list(APPEND words_1_3 "attributes[].currency")
endif()
string(JSON exponents ERROR_VARIABLE missing GET "${json}" currency_exponents)
if(NOT missing)
  list(APPEND words_1_3 "currency_exponents")
endif()
if(words_1_3 AND REQUIRED_MINOR LESS 3)
  list(JOIN words_1_3 " and " words_1_3)
  message(FATAL_ERROR "${MANIFEST} uses ${words_1_3}, which came with minor 3 of the contract: say REQUIRED_MINOR 3 in "
    "sluice_add_connector()")
endif()

numbers_of(entity_types types types)
numbers_of(hosts hosts hosts)
numbers_of(auth auth auth)
set(attributes "")
string(JSON type_count ERROR_VARIABLE missing LENGTH "${json}" entity_types)
if(NOT missing AND type_count GREATER 0)
  math(EXPR last_type "${type_count} - 1")
  foreach(t RANGE ${last_type})
    string(JSON type GET "${json}" entity_types ${t})
    string(JSON type_name GET "${type}" name)
    identifier("${type_name}" type_name)
    string(APPEND attributes "namespace ${type_name} {\n")
    string(JSON attribute_count LENGTH "${type}" attributes)
    if(attribute_count GREATER 0)
      string(JSON list GET "${type}" attributes)
      math(EXPR last "${attribute_count} - 1")
      foreach(a RANGE ${last})
        string(JSON name GET "${list}" ${a} name)
        identifier("${name}" name)
        string(APPEND attributes "inline constexpr std::uint32_t ${name} = ${a};\n")
      endforeach()
    endif()
    string(APPEND attributes "}\n")
  endforeach()
endif()

file(WRITE "${NUMBERS}.new" "// Written from manifest.json by sluice_add_connector(); do not edit.
// manifest::types::customer is an entity type's index, manifest::customer::email an attribute's.
#pragma once
#include <cstdint>
namespace manifest {
inline constexpr std::uint64_t kSize = ${size};
${types}${hosts}${auth}${attributes}}  // namespace manifest
")
file(COPY_FILE "${NUMBERS}.new" "${NUMBERS}" ONLY_IF_DIFFERENT)

# SHF_ALLOC puts the section into a PT_NOTE segment; "R" (retain) keeps it through --gc-sections.
file(WRITE "${NOTE}" "// Written from manifest.json by sluice_add_connector(); do not edit. See connector.h, \"the note\".
__asm__(
    \".pushsection .note.sluice,\\\"aR\\\",@note\\n\"
    \".balign 4\\n\"
    \".long 7\\n\"
    \".long 5f - 4f\\n\"
    \".long 1\\n\"
    \".asciz \\\"Sluice\\\"\\n\"
    \".balign 4\\n\"
    \"4:\\n\"
    \".long 1\\n\"
    \".short 1\\n\"
    \".short ${REQUIRED_MINOR}\\n\"
    \".long ${size}\\n\"
    \".globl sluice_manifest_begin\\n\"
    \".hidden sluice_manifest_begin\\n\"
    \".type sluice_manifest_begin, @object\\n\"
    \".size sluice_manifest_begin, ${size}\\n\"
    \"sluice_manifest_begin:\\n\"
    \".incbin \\\"${MANIFEST}\\\"\\n\"
    \"5:\\n\"
    \".balign 4\\n\"
    \".popsection\\n\");
")
