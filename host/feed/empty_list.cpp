#include "feed/empty_list.hpp"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <chrono>
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
/// No further filter is looked after behind that.
constexpr std::chrono::seconds kTimeForHints{1};

std::string shown(const std::string& text) {
  if (text.size() <= kShownMax) return text;
  std::size_t end = kShownMax;
  while (end > 0 && (static_cast<unsigned char>(text[end]) & 0xC0U) == 0x80U) --end;
  return text.substr(0, end) + "…";
}

/// How many rows an answer of sample_query() is about.
struct Looked {
  Looked(const pg::QueryResult& answer, int row)
      : into(answer.get<std::int64_t>(row, 1)), at(answer.get<std::int64_t>(row, 2)) {}
  std::int64_t into, at;
};

/// "status: none of the 425 stripe.invoice that were looked at <which>; they <verb> draft, open.
/// Did you mean 'open'?"
std::optional<std::string> hint(const SampleQuery& sample, Looked rows, const std::string& which,
                                std::string_view verb, const std::vector<std::string>& known,
                                const std::string& word) {
  if (rows.at == 0) return fmt::format("the workspace has no {}", sample.type->name);
  if (rows.into == 0) return std::nullopt;
  std::string text = fmt::format("{}: none of the {} {} that were looked at {}", sample.name,
                                 with_commas(rows.into), sample.type->name, which);
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
  const auto is_long = [](const std::string& value) { return value.size() > kSampledTextMax; };
  if (answer.rows() > kSampledValuesMax || std::ranges::any_of(filter.values, is_long))
    return std::nullopt;
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
  return hint(sample, Looked(answer, 0), which, "are", known, value);
}

std::optional<std::string> of_path(const SampleQuery& sample, const pg::QueryResult& answer) {
  std::string at = sample.name;
  for (std::size_t n = 0; n < sample.path.size(); ++n) {
    const std::string& part = sample.path[n];
    if (whole_number(part)) return std::nullopt;  // of a list
    if (!answer.get<bool>(static_cast<int>(n), 3)) {
      std::vector<std::string> known;
      const nlohmann::json names = stored_json(answer.text(static_cast<int>(n), 0));
      for (const nlohmann::json& name : names) known.push_back(name.get<std::string>());
      const std::string which = fmt::format("has '{}' in {}", shown(part), shown(at));
      return hint(sample, Looked(answer, static_cast<int>(n)), which, "have", known, part);
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
  const auto begin = std::chrono::steady_clock::now();
  std::vector<std::string> hints;
  for (const Filter& filter : filters) {
    auto sample = sample_query(catalog, type, filter);
    if (!sample) continue;
    if (std::chrono::steady_clock::now() - begin > kTimeForHints) break;
    std::optional<pg::QueryResult> looked;
    try {
      looked = co_await connection.query(sample->query.sql, std::move(sample->query.params));
    } catch (const pg::QueryError& error) {
      if (error.kind() != ErrorKind::retry_later || !connection.usable()) throw;
    }
    if (!looked) break;  // the database has other things to do
    const pg::QueryResult& answer = *looked;
    const auto found =
        sample->path.empty() ? of_values(*sample, answer, filter) : of_path(*sample, answer);
    if (found && std::ranges::find(hints, *found) == hints.end()) hints.push_back(*found);
  }
  co_return hints;
}

}  // namespace sluice::feed
