#include "base/nearest.hpp"

#include <algorithm>
#include <vector>

#include "base/ascii.hpp"

namespace sluice {
namespace {

/// Of longer words nobody misspells all: what is compared is bounded, whatever comes.
constexpr std::size_t kWordMax = 200;

}  // namespace

std::size_t edit_distance(std::string_view a, std::string_view b) {
  a = a.substr(0, kWordMax);
  b = b.substr(0, kWordMax);
  std::vector<std::size_t> before(b.size() + 1), row(b.size() + 1), next(b.size() + 1);
  for (std::size_t j = 0; j <= b.size(); ++j) row[j] = j;
  for (std::size_t i = 1; i <= a.size(); ++i) {
    next[0] = i;
    for (std::size_t j = 1; j <= b.size(); ++j) {
      next[j] =
          std::min({row[j] + 1, next[j - 1] + 1, row[j - 1] + (a[i - 1] == b[j - 1] ? 0 : 1)});
      if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1])
        next[j] = std::min(next[j], before[j - 2] + 1);
    }
    before.swap(row);
    row.swap(next);
  }
  return row[b.size()];
}

std::string nearest(std::string_view word, std::span<const std::string> known) {
  const std::string* found = nullptr;
  std::size_t best = 4;
  for (const std::string& one : known) {
    const std::size_t distance = edit_distance(in_lower_case(word), in_lower_case(one));
    if (distance >= best || distance * 3 > std::max(word.size(), one.size()) + 1) continue;
    best = distance;
    found = &one;
  }
  if (found != nullptr) return *found;
  for (const std::string& one : known) {
    if (word.size() < 3 || !one.starts_with(word)) continue;
    if (found != nullptr) return {};
    found = &one;
  }
  return found == nullptr ? std::string() : *found;
}

std::string did_you_mean(std::string_view word, std::span<const std::string> known) {
  const std::string meant = nearest(word, known);
  return meant.empty() ? std::string() : "Did you mean '" + meant + "'? ";
}

}  // namespace sluice
