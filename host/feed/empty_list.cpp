#include "feed/empty_list.hpp"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <optional>
#include <span>
#include <utility>

#include "base/exact_json.hpp"
#include "base/nearest.hpp"
#include "base/numbers.hpp"
#include "feed/entity_query.hpp"

namespace sluice::feed {
namespace {

/// A name or value of a hint is shown so far; they may be as long as a vendor makes them.
constexpr std::size_t kShownMax = 60;
constexpr std::size_t kNamesShownMax = 10;

std::string shown(const std::string& text) {
  if (text.size() <= kShownMax) return text;
  std::size_t end = kShownMax;
  while (end > 0 && (static_cast<unsigned char>(text[end]) & 0xC0U) == 0x80U) --end;
  return text.substr(0, end) + "…";
}

/// "status: none of the 425 stripe.invoice that were looked at <which>; they <verb> draft, open.
/// Did you mean 'open'?"
std::string hint(const SampleQuery& sample, std::int64_t rows, const std::string& which,
                 std::string_view verb, const std::vector<std::string>& known,
                 const std::string& word) {
  if (rows == 0) return fmt::format("the workspace has no {}", sample.type->name);
  std::string text = fmt::format("{}: none of the {} {} that were looked at {}", sample.name,
                                 with_commas(rows), sample.type->name, which);
  if (!known.empty()) {
    std::vector<std::string> some;
    for (const std::string& one : std::span(known).first(std::min(known.size(), kNamesShownMax)))
      some.push_back(shown(one));
    text += fmt::format("; they {} {}{}", verb, fmt::join(some, ", "),
                        known.size() > some.size() ? ", …" : "");
  }
  const std::string meant = nearest(word, known);
  return meant.empty() ? text : fmt::format("{}. Did you mean '{}'?", text, shown(meant));
}

std::optional<std::string> of_values(const SampleQuery& sample, const pg::QueryResult& answer,
                                     const Filter& filter) {
  if (answer.rows() > kSampledValuesMax) return std::nullopt;
  std::vector<std::string> known;
  for (int row = 0; row < answer.rows(); ++row)
    if (!answer.is_null(row, 0)) known.push_back(answer.get<std::string>(row, 0));
  const auto is_known = [&](const std::string& value) {
    return std::ranges::find(known, value) != known.end();
  };
  if (std::ranges::any_of(filter.values, is_known)) return std::nullopt;
  const std::string& value = filter.values.front();
  const std::string which = filter.values.size() == 1 ? fmt::format("is '{}'", shown(value))
                                                      : std::string("is one of those");
  return hint(sample, answer.get<std::int64_t>(0, 1), which, "are", known, value);
}

std::optional<std::string> of_path(const SampleQuery& sample, const pg::QueryResult& answer) {
  std::string at = sample.name;
  for (std::size_t n = 0; n < sample.path.size(); ++n) {
    const std::string& part = sample.path[n];
    if (whole_number(part)) return std::nullopt;  // of a list
    std::vector<std::string> known;
    const nlohmann::json names = stored_json(answer.text(static_cast<int>(n), 0));
    for (const nlohmann::json& name : names) known.push_back(name.get<std::string>());
    if (std::ranges::find(known, part) == known.end()) {
      const std::string which = fmt::format("has '{}' in {}", shown(part), shown(at));
      return hint(sample, answer.get<std::int64_t>(static_cast<int>(n), 1), which, "have", known,
                  part);
    }
    at += "." + part;
  }
  return std::nullopt;
}

}  // namespace

Task<std::vector<std::string>> hints_of_empty(pg::Connection& connection,
                                              const model::Catalog& catalog,
                                              const model::StoredType& type,
                                              const std::vector<Filter>& filters) {
  std::vector<std::string> hints;
  for (const Filter& filter : filters) {
    auto sample = sample_query(catalog, type, filter);
    if (!sample) continue;
    const pg::QueryResult answer =
        co_await connection.query(sample->query.sql, std::move(sample->query.params));
    const auto found =
        sample->path.empty() ? of_values(*sample, answer, filter) : of_path(*sample, answer);
    if (found && std::ranges::find(hints, *found) == hints.end()) hints.push_back(*found);
  }
  co_return hints;
}

}  // namespace sluice::feed
