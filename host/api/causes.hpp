// What is not well, joined by its cause: a key without eighteen permissions is one entry, not
// eighteen. Pure: entries in, entries out, so that errors and status say the same.
#pragma once

#include <cstddef>
#include <map>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>
#include <tuple>
#include <vector>

namespace sluice::api {

/// {"kind", "connection", "subject", "subjects", "code", "count", "what", "action"}; `count` is 1
/// until whoever makes it says how many things it is about.
[[nodiscard]] nlohmann::json problem_of(std::string_view kind, const nlohmann::json& connection,
                                        const nlohmann::json& subject, std::string_view code,
                                        const nlohmann::json& what, const nlohmann::json& action);

/// A list of such entries in the order in which they came. Those that are joined have all their
/// names in `subjects`, the sum of their counts, and no stream's name in what is to be done.
class Causes {
 public:
  explicit Causes(std::size_t entries_max) : entries_max_(entries_max) {}

  /// An entry of its own; left out, and told by truncated(), when there are too many.
  void add(nlohmann::json problem);
  /// The same entry as the last with this kind, connection, code and `cause`. A `permission` that
  /// the entry names is listed with those of the others.
  void add(nlohmann::json problem, const std::string& cause);

  [[nodiscard]] bool truncated() const { return truncated_; }
  [[nodiscard]] bool full() const { return truncated_; }
  void truncate() { truncated_ = true; }
  /// The entries in their last words; the list is empty afterwards.
  [[nodiscard]] nlohmann::json take();

 private:
  using Key = std::tuple<std::string, std::string, std::string, std::string>;
  std::size_t entries_max_;
  bool truncated_ = false;
  std::vector<nlohmann::json> entries_;
  std::map<Key, std::size_t> places_;
};

/// A reason without what differs from one stream to the next: its name, ids, numbers, times.
[[nodiscard]] std::string cause_in(std::string_view reason, std::string_view subject);

/// Adds what is not well with a connection as statuses() shows it: its unwell streams by cause, and
/// what its state says when none of them is. True when a stream is unwell.
bool add_causes(Causes& causes, const nlohmann::json& connection);

/// "a, b, c"; of very many the first and how many more.
[[nodiscard]] std::string names_in_words(const nlohmann::json& names);

}  // namespace sluice::api
