# Writes OUTPUT, a C++ source with the text of each of FILES (separated by ","), named NNNN_name.sql.
# Pieces stay below the 64 KiB that every compiler takes as one literal.
set(piece_bytes 15000)
string(REPLACE "," ";" FILES "${FILES}")
set(entries "")
foreach(file IN LISTS FILES)
  get_filename_component(name "${file}" NAME_WE)
  string(REGEX MATCH "^0*([0-9]+)_[a-z0-9_]+$" matched "${name}")
  if(NOT matched)
    message(FATAL_ERROR "${file}: a migration is named NNNN_lower_case.sql")
  endif()
  set(version "${CMAKE_MATCH_1}")
  file(READ "${file}" text HEX)
  string(LENGTH "${text}" length)
  string(REGEX REPLACE "([0-9a-f][0-9a-f])" "\\\\x\\1" text "${text}")
  math(EXPR escaped "${length} * 2")
  math(EXPR step "${piece_bytes} * 4")
  set(literal "")
  set(at 0)
  while(at LESS escaped)
    string(SUBSTRING "${text}" ${at} ${step} piece)
    string(APPEND literal "\n    \"${piece}\"")
    math(EXPR at "${at} + ${step}")
  endwhile()
  math(EXPR bytes "${length} / 2")
  string(APPEND entries "  {${version}, \"${name}\", std::string_view(${literal}, ${bytes})},\n")
endforeach()
set(source "// Written by embed_migrations.cmake.
#include \"pg/migrations.hpp\"

namespace sluice::pg {
namespace {
constexpr Migration kAll[] = {
${entries}};
}  // namespace
const std::span<const Migration> kMigrations(kAll);
}  // namespace sluice::pg
")
file(WRITE "${OUTPUT}" "${source}")
