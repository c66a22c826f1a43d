#include "link/changes.hpp"

#include <fmt/format.h>

#include <string>

#include "base/json_text.hpp"

namespace sluice::link {
namespace {

std::string optional_id(const std::optional<std::int64_t>& id) {
  return id ? std::to_string(*id) : "null";
}

}  // namespace

void LinkChanges::retarget(std::string_view rule, std::int64_t source_type, std::int64_t source,
                           std::optional<std::int64_t> before, std::optional<std::int64_t> after) {
  if (before == after) return;
  std::string name;
  append_json_string(name, rule);
  const auto add = [&](std::string_view op, const std::string& from, const std::string& to) {
    changes_.add(source_type, source, op, "", fmt::format("{{{}:[{},{}]}}", name, from, to));
  };
  if (before) add("unlink", optional_id(before), "null");
  if (after) add("link", "null", optional_id(after));
}

void LinkChanges::append_to(pg::Pipeline& pipeline, WorkspaceId workspace) {
  journal::Source source;
  source.workspace = workspace;
  changes_.append_to(pipeline, source);
}

}  // namespace sluice::link
